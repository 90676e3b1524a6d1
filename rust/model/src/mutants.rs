//! The protocol with one ordering weakened or one mechanism broken, and the model that must notice.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    Nothing,
    // Orderings, each to relaxed unless it says otherwise.
    /// T: acquire only.
    TailRelease,
    /// Release only.
    TailAcquire,
    TailFailure,
    /// T, Z.
    TailLoad,
    Publish,
    /// W.
    Commit,
    Seal,
    /// W, B.
    WordLoad,
    /// The look that `close` takes after it has loaded the hole word.
    WordSecondLoad,
    /// B.
    MemberStore,
    /// Z.
    ZeroedTailStore,
    ResettingExchange,
    /// G.
    GenerationStore,
    GenerationLoad,
    RecordStore,
    RecordLoad,
    /// L: the barrier between commit and the look at the wake word.
    WakeBarrier,
    /// L: the barrier between registration and the second look.
    RegisterBarrier,
    WakeLoad,
    WakeExchange,
    /// H.
    HoleExchange,
    HoleLoad,
    /// X.
    TruncationExchange,
    TruncationLoad,
    TruncationStore,
    SyncedExchange,
    /// Reset's stores to fields that carry nothing.
    OtherResetStores,
    // Mechanisms.
    SkipPublish,
    TailBeforePublish,
    PublishByStore,
    TailByStore,
    CommitByStore,
    SealByStore,
    PassWithoutSealing,
    MembersAfterCommit,
    WakeBySwap,
    WakeKeepsSequence,
    LeaveBlindly,
    NoWakeAfterSeal,
    RecheckOmitted,
    HoleLookedAtOnce,
    AttemptIgnored,
    TruncationByStore,
    GenerationAfterTail,
    GenerationBeforeTail,
    OldTailForNewGeneration,
    ZeroAfterTail,
    FinishWithoutLock,
    FinishWithoutSecondLook,
    SyncWithoutSettling,
}

use Mutant::*;

/// With the name of a model: that one fails. Without: all models pass, README.md says why.
pub const MUTANTS: &[(Mutant, Option<&str>)] = &[
    (TailRelease, Some("two_writers_and_sealer")),
    (TailAcquire, None),
    (TailFailure, None),
    (TailLoad, Some("writer_and_sealer")),
    (Publish, None),
    (Commit, Some("writer_and_sealer")),
    (Seal, None),
    (WordLoad, Some("writer_and_sealer")),
    (WordSecondLoad, None),
    (MemberStore, Some("batch")),
    (ZeroedTailStore, Some("append_behind_reset")),
    (ResettingExchange, None),
    (GenerationStore, Some("reset_beside_reader")),
    (GenerationLoad, Some("reset_beside_reader")),
    (RecordStore, None),
    (RecordLoad, None),
    (WakeBarrier, Some("one_waiter")),
    (RegisterBarrier, Some("one_waiter")),
    (WakeLoad, None),
    (WakeExchange, None),
    (HoleExchange, Some("hole_record")),
    (HoleLoad, Some("hole_record")),
    (TruncationExchange, Some("truncate_beside_append")),
    (TruncationLoad, Some("truncate_beside_append")),
    (TruncationStore, None),
    (SyncedExchange, None),
    (OtherResetStores, None),
    (SkipPublish, Some("dying_writer")),
    (TailBeforePublish, Some("dying_writer_behind_hole")),
    (PublishByStore, Some("two_writers")),
    (TailByStore, Some("two_writers")),
    (CommitByStore, Some("writer_and_sealer")),
    (SealByStore, Some("writer_and_sealer")),
    (PassWithoutSealing, Some("writer_and_sealer")),
    (MembersAfterCommit, Some("batch")),
    (WakeBySwap, Some("waiter_and_three_writers")),
    (WakeKeepsSequence, Some("one_waiter")),
    (LeaveBlindly, Some("leave_beside_wake")),
    (NoWakeAfterSeal, Some("seal_wakes")),
    (RecheckOmitted, Some("one_waiter")),
    (HoleLookedAtOnce, Some("hole_record")),
    (AttemptIgnored, Some("late_place")),
    (TruncationByStore, Some("two_truncators")),
    (GenerationAfterTail, Some("dying_reset")),
    (GenerationBeforeTail, Some("append_behind_reset")),
    (OldTailForNewGeneration, Some("reset_beside_reader")),
    (ZeroAfterTail, Some("append_behind_reset")),
    (FinishWithoutLock, Some("two_finishers")),
    (FinishWithoutSecondLook, Some("two_finishers")),
    (SyncWithoutSettling, Some("sync_settles")),
];
