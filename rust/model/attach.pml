/* The locks of attaching: rust/src/region.rs, `heal`, `begin_life` and `begin_reading`.

   Attachers come to one file. It is unborn, or a log that was last attached in another boot or is a
   copy (needs recovery), or one of this boot, or one that a process with another boot id (a
   container) has open. A read-only handle comes as well. Each may die at any step, DEATHS of them in all; who lives either
   goes on for ever or leaves.

   Promised: recovery runs once when it is needed, never beside a handle; nobody goes on with a log
   that needs recovery, nor with half a header; nobody makes a log of a log; no deadlock.

   A mutant is chosen with -D. The life lock is sharers and owner_life, the attach lock comparers
   and owner_attach, the change lock owner_change. */

#ifndef ATTACHERS
#define ATTACHERS 2
#endif
#ifndef DEATHS
#define DEATHS 2
#endif

#define NOBODY 255
#define HERE 1
#define ELSEWHERE 2
#define CONTAINER 3

bool header, magic;
/* Whereabouts are several words, stored one by one. */
byte recorded_high, recorded_low;
bool needed;
byte deaths, living, sharers, comparers;
byte owner_life = NOBODY, owner_attach = NOBODY, owner_change = NOBODY;
bool same_boot_id = true;

#define UNKNOWN 0
#define IS_HERE (high == me && low == me)

inline may_die() {
    if
    :: deaths < DEATHS -> deaths++; goto dead
    :: true
    fi
}

inline read_recorded() {
    high = recorded_high;
    low = recorded_low
}

inline lock_change() {
    atomic { owner_change == NOBODY -> owner_change = _pid }
}

inline unlock_change() {
    atomic { assert(owner_change == _pid); owner_change = NOBODY }
}

/* Waits while somebody else has it exclusively; one's own exclusive lock is turned into it. */
inline lock_life_shared() {
    atomic {
        (owner_life == NOBODY || owner_life == _pid) ->
        owner_life = NOBODY;
        if
        :: !shares -> shares = true; sharers++
        :: else
        fi
    }
}

inline lock_attach_shared() {
    atomic { owner_attach == NOBODY -> compares = true; comparers++ }
}

inline unlock_attach_shared() {
    atomic { compares = false; comparers-- }
}

inline lock_attach() {
    atomic { owner_attach == NOBODY && comparers == 0 -> owner_attach = _pid }
}

inline recover() {
    atomic {
        assert(living == 0);
        assert(needed || !same_boot_id)
    }
#ifndef RECORD_KEPT
    recorded_high = UNKNOWN;
    may_die();
    recorded_low = UNKNOWN;
    may_die();
#endif
    /* Half recovered is as bad as not recovered. */
    needed = true;
#ifdef STAMP_FIRST
    recorded_high = me;
    may_die();
    recorded_low = me;
    may_die();
#endif
    may_die();
    assert(living == 0);
#ifdef STAMP_FIRST
    atomic { needed = false }
#else
    recorded_high = me;
    may_die();
    atomic { recorded_low = me; needed = false }
#endif
}

/* Goes on with the log: for ever, or until it leaves; and what death does. */
inline go_live() {
    atomic {
        assert(shares);
        assert(owner_life == NOBODY);
        assert(!needed);
        alive = true;
        living++
    }
    if
    :: goto end_lives_on
    :: true
    fi;
dead:
    atomic {
        if
        :: alive -> living--
        :: else
        fi;
        if
        :: shares -> sharers--
        :: else
        fi;
        if
        :: owner_life == _pid -> owner_life = NOBODY
        :: else
        fi;
        if
        :: compares -> comparers--
        :: else
        fi;
        if
        :: owner_attach == _pid -> owner_attach = NOBODY
        :: else
        fi;
        if
        :: owner_change == _pid -> owner_change = NOBODY
        :: else
        fi
    }
    goto finished;
end_lives_on:
    false
}

proctype attacher(byte me) {
    byte high, low;
    bool shares, compares, mine, alive;

    may_die();
    if
    :: magic -> goto enter
    :: else
    fi;
    /* heal */
    lock_change();
    may_die();
#ifndef HEAL_WITHOUT_SECOND_LOOK
    if
    :: magic -> unlock_change(); goto enter
    :: else
    fi;
#endif
    assert(!magic);
#ifdef MAGIC_FIRST
    magic = true;
    may_die();
#endif
    header = false;
    may_die();
    recorded_high = me;
    recorded_low = me;
    header = true;
    may_die();
    magic = true;
    may_die();
    unlock_change();

enter:
    assert(header);
    may_die();
#ifdef SHARED_FIRST
    lock_life_shared();
    may_die();
#endif
#ifndef COMPARED_UNLOCKED
    lock_attach_shared();
    may_die();
#endif
    read_recorded();
    may_die();
    if
    :: IS_HERE ->
        lock_life_shared();
        may_die();
#ifndef COMPARED_UNLOCKED
        unlock_attach_shared();
        may_die();
#endif
        goto live
    :: else
    fi;
#ifndef COMPARED_UNLOCKED
#ifdef UPGRADED
    atomic { owner_attach == NOBODY && comparers == 1 -> owner_attach = _pid }
    unlock_attach_shared();
#else
    unlock_attach_shared();
    may_die();
#endif
#endif
#ifndef UPGRADED
#ifndef NO_ATTACH_LOCK
    lock_attach();
    may_die();
#endif
#endif
#ifndef NO_SECOND_COMPARISON
    read_recorded();
    may_die();
#endif
    if
    :: IS_HERE
    :: else ->
#ifdef RECOVER_BESIDE_OTHERS
        mine = true;
#else
#ifdef WAIT_FOR_LIFE
        atomic { owner_life == NOBODY && sharers == 0 -> owner_life = _pid; mine = true };
#else
        atomic {
            mine = owner_life == NOBODY && sharers - shares == 0;
            if
            :: mine ->
                owner_life = _pid;
                if
                :: shares -> shares = false; sharers--
                :: else
                fi
            :: else
            fi
        };
#endif
#endif
        may_die();
        if
        :: mine -> recover()
        :: else
        fi
    fi;
    may_die();
    lock_life_shared();
    may_die();
#ifndef NO_ATTACH_LOCK
    atomic { assert(owner_attach == _pid); owner_attach = NOBODY }
    may_die();
#endif

live:
    go_live();
finished:
    skip
}

/* A read-only handle cannot recover. */
proctype reader(byte me) {
    byte high, low;
    bool shares, compares, alive;

    may_die();
    if
    :: magic
    :: else -> goto finished
    fi;
#ifndef READER_UNLOCKED
    lock_attach_shared();
    may_die();
#endif
    read_recorded();
    may_die();
    if
    :: IS_HERE || owner_life != NOBODY || sharers > 0
    :: else -> goto dead
    fi;
    lock_life_shared();
    may_die();
#ifndef READER_UNLOCKED
    unlock_attach_shared();
    may_die();
#endif
    go_live();
finished:
    skip
}

/* Has the log open from before, under the boot id of its own. */
proctype resident() {
    if
    :: goto end_stays
    :: true
    fi;
    atomic { living--; sharers-- }
    goto finished;
end_stays:
    false;
finished:
    skip
}

init {
    byte i;
    atomic {
        header = true;
        magic = true;
        if
        :: recorded_high = ELSEWHERE; recorded_low = ELSEWHERE; needed = true
        /* Another boot of the machine with the same disk: one word alike. */
        :: recorded_high = HERE; recorded_low = ELSEWHERE; needed = true
        :: recorded_high = HERE; recorded_low = HERE
        :: same_boot_id = false; recorded_high = HERE; recorded_low = HERE
        :: header = false; magic = false
        :: same_boot_id = false; recorded_high = ELSEWHERE; recorded_low = ELSEWHERE;
            living = 1; sharers = 1; run resident()
        :: same_boot_id = false; recorded_high = ELSEWHERE; recorded_low = ELSEWHERE; needed = true
        fi;
        do
        :: i < ATTACHERS ->
            if
            :: !same_boot_id && i == 0 -> run attacher(CONTAINER)
            :: else -> run attacher(HERE)
            fi;
            i++
        :: else -> break
        od;
        run reader(HERE)
    }
    (_nr_pr == 1 || timeout) ->
    if
    :: same_boot_id && recorded_high == HERE && recorded_low == HERE -> assert(!needed)
    :: else
    fi
}
