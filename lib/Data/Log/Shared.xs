/* Glue between Perl and the Rust core: Perl's own rules for handles, arguments and callbacks.
 *
 * A handle is a blessed scalar with ext magic of our vtable, which nothing forged, foreign or cloned
 * by a serializer has. Arguments may run the user's code, which may die or destroy the handle, so a
 * method takes the handle's magic first, pins the referent where code may run, converts numbers,
 * then strings, looks at the handle again, and makes one call into Rust with no Perl in between.
 */
#define PERL_NO_GET_CONTEXT
#include "EXTERN.h"
#include "perl.h"
#include "XSUB.h"

#include "../../../rust/include/data_log_shared.h"

#ifndef G_LIST
#define G_LIST G_ARRAY
#endif

#define CLASS "Data::Log::Shared"

/* mg_private */
#define DESTROYED 1
#define PATH_IS_UTF8 2

static int free_log(pTHX_ SV *sv, MAGIC *mg) {
    PERL_UNUSED_ARG(sv);
    dls_free((dls_log *)mg->mg_ptr);
    mg->mg_ptr = NULL;
    return 0;
}

static int free_cursor(pTHX_ SV *sv, MAGIC *mg) {
    PERL_UNUSED_ARG(sv);
    dls_cursor_free((dls_cursor_t *)mg->mg_ptr);
    mg->mg_ptr = NULL;
    return 0;
}

#ifdef USE_ITHREADS
static int clone_log(pTHX_ MAGIC *mg, CLONE_PARAMS *params) {
    PERL_UNUSED_ARG(params);
    if (mg->mg_ptr)
        mg->mg_ptr = (char *)dls_clone((const dls_log *)mg->mg_ptr);
    if (!mg->mg_ptr)
        mg->mg_private |= DESTROYED;
    return 0;
}

static int clone_cursor(pTHX_ MAGIC *mg, CLONE_PARAMS *params) {
    PERL_UNUSED_ARG(params);
    if (mg->mg_ptr)
        mg->mg_ptr = (char *)dls_cursor_clone((const dls_cursor_t *)mg->mg_ptr);
    if (!mg->mg_ptr)
        mg->mg_private |= DESTROYED;
    return 0;
}
#else
#define clone_log NULL
#define clone_cursor NULL
#endif

/* A glob's scalar may be made an alias of the referent; "local" copies its magic unless told not to. */
static int keep_from_local(pTHX_ SV *sv, MAGIC *mg) {
    PERL_UNUSED_CONTEXT;
    PERL_UNUSED_ARG(sv);
    PERL_UNUSED_ARG(mg);
    return 0;
}

static const MGVTBL log_vtable = {
    NULL, NULL, NULL, NULL, free_log, NULL, clone_log, keep_from_local
};
static const MGVTBL cursor_vtable = {
    NULL, NULL, NULL, NULL, free_cursor, NULL, clone_cursor, keep_from_local
};

#define LOG(mg) ((dls_log *)(mg)->mg_ptr)
#define CURSOR(mg) ((dls_cursor_t *)(mg)->mg_ptr)

PERL_STATIC_INLINE MAGIC *find_handle(const SV *self, const MGVTBL *vtable) {
    if (SvROK(self) && SvTYPE(SvRV(self)) >= SVt_PVMG) {
        MAGIC *mg = SvMAGIC(SvRV(self));
        for (; mg; mg = mg->mg_moremagic)
            if (mg->mg_virtual == vtable)
                return mg;
    }
    return NULL;
}

static void croak_unless_live(pTHX_ const MAGIC *mg, const char *method) {
    if (!mg || mg->mg_private & DESTROYED)
        Perl_croak(aTHX_ CLASS "%s: not a live " CLASS " object", method);
}

PERL_STATIC_INLINE MAGIC *live_handle(
    pTHX_ const SV *self, const MGVTBL *vtable, const char *method
) {
    MAGIC *mg = find_handle(self, vtable);
    if (UNLIKELY(!mg || mg->mg_private & DESTROYED))
        croak_unless_live(aTHX_ mg, method);
    return mg;
}

#define LIVE_LOG(method) live_handle(aTHX_ self, &log_vtable, "->" method)
#define LIVE_CURSOR(method) live_handle(aTHX_ self, &cursor_vtable, "::Cursor->" method)

static void destroy(pTHX_ const SV *self, const MGVTBL *vtable) {
    /* A method that is running user's code looks at the handle again before it goes on. */
    MAGIC *mg = find_handle(self, vtable);
    if (mg) {
        mg->mg_private |= DESTROYED;
        vtable->svt_free(aTHX_ NULL, mg);
    }
}

/* Keeps the handle alive until the current statement ends, whatever the user's code does to it. */
static void pin(pTHX_ const SV *self) {
    sv_2mortal(SvREFCNT_inc_simple_NN(SvRV(self)));
}

static void croak_error(pTHX_ const char *method, dls_error *error) {
    SV *text = sv_2mortal(newSVpvf(CLASS "%s: ", method));
    const int number = dls_error_errno(error);
    sv_catpvn(text, (const char *)dls_error_message(error), dls_error_length(error));
    dls_error_free(error);
    if (number)
        SETERRNO(number, number);
    croak_sv(text);
}

/* The argument's value with its magic fetched once. */
static SV *fetched(pTHX_ SV *arg) {
    SV *value;
    if (!SvGMAGICAL(arg))
        return arg;
    value = sv_newmortal();
    sv_setsv_flags(value, arg, SV_GMAGIC);
    return value;
}

static NV number_of(pTHX_ SV *arg, const char *method, const char *name) {
    SV *value = fetched(aTHX_ arg);
    NV number;
    if (SvROK(value) ? SvAMAGIC(value) : SvNIOK(value) || looks_like_number(value)) {
        number = SvNV_nomg(value);
        if (!Perl_isnan(number))
            return number;
    }
    if (!SvOK(value))
        Perl_croak(aTHX_ CLASS "%s: %s undef is not a number", method, name);
    Perl_croak(aTHX_ CLASS "%s: %s \"%" SVf "\" is not a number", method, name, SVfARG(value));
}

#define IS_PLAIN_INDEX(sv) \
    ((SvFLAGS(sv) & (SVf_IOK | SVs_GMG)) == SVf_IOK && (SvIsUV(sv) || SvIVX(sv) >= 0))

/* A whole number, or UINT64_MAX for what is none: no offset and no count is that large. */
static uint64_t whole_number_of(pTHX_ SV *arg, const char *method, const char *name) {
    NV number;
    if (LIKELY(IS_PLAIN_INDEX(arg)))
        return SvUVX(arg);
    number = number_of(aTHX_ arg, method, name);
    if (number < 0 || number >= 18446744073709551616.0 || number != Perl_floor(number))
        return UINT64_MAX;
    return (uint64_t)number;
}

static uint64_t patience_of(pTHX_ SV *arg, const char *method) {
    NV number;
    if (!arg)
        return DLS_DEFAULT_PATIENCE;
    arg = fetched(aTHX_ arg);
    if (!SvOK(arg))
        return DLS_DEFAULT_PATIENCE;
    number = number_of(aTHX_ arg, method, "patience");
    if (number <= 0)
        return 0;
    return number >= 1e18 ? (uint64_t)1000000000000000000 : (uint64_t)number;
}

/* Not given or undef: never. */
static uint64_t deadline_of(pTHX_ SV *seconds, const char *method) {
    if (!seconds)
        return DLS_NO_DEADLINE;
    seconds = fetched(aTHX_ seconds);
    if (!SvOK(seconds))
        return DLS_NO_DEADLINE;
    return dls_deadline(number_of(aTHX_ seconds, method, "timeout"));
}

static int descriptor_of(pTHX_ SV *arg, const char *method) {
    const NV number = number_of(aTHX_ arg, method, "file descriptor");
    if (number < 0 || number > PERL_INT_MAX || number != Perl_floor(number))
        Perl_croak(aTHX_ CLASS "%s: %" NVgf " is no file descriptor", method, number);
    return (int)number;
}

#define BYTES(sv) ((const uint8_t *)SvPVX_const(sv))
#define IS_PLAIN_STRING(sv) (SvPOK(sv) && !SvGMAGICAL(sv))

/* The argument if it is a plain string, else a copy that is one; runs the user's code then. Undef
 * becomes the empty string. */
static SV *plain_string(pTHX_ SV *arg) {
    SV *value;
    STRLEN len;
    const char *string;
    if (IS_PLAIN_STRING(arg))
        return arg;
    value = sv_newmortal();
    sv_setsv_flags(value, arg, SV_GMAGIC);
    if (!SvOK(value))
        return newSVpvs_flags("", SVs_TEMP);
    if (SvPOK(value))
        return value;
    string = SvPV_nomg(value, len);
    return newSVpvn_flags(string, len, SVs_TEMP | SvUTF8(value));
}

PERL_STATIC_INLINE dls_data data_of(const SV *string) {
    dls_data data = {BYTES(string), SvCUR(string), cBOOL(SvUTF8(string))};
    return data;
}

static SV *wrap(pTHX_ HV *stash, void *handle, const MGVTBL *vtable, U16 flags) {
    SV *referent = newSV_type(SVt_PVMG);
    SV *self = newRV_noinc(referent);
    MAGIC *mg = sv_magicext(referent, NULL, PERL_MAGIC_ext, vtable, (const char *)handle, 0);
    mg->mg_flags |= MGf_DUP | MGf_LOCAL;
    mg->mg_private = flags;
    return sv_bless(self, stash);
}

static HV *class_of(pTHX_ SV *class) {
    return sv_isobject(class) ? SvSTASH(SvRV(class)) : gv_stashsv(class, GV_ADD);
}

PERL_STATIC_INLINE void set_payload(pTHX_ SV *sv, const dls_payload *payload) {
    if (LIKELY(SvTYPE(sv) >= SVt_PV && !SvTHINKFIRST(sv) && !SvOOK(sv) && SvLEN(sv) > payload->len)) {
        Copy(payload->data, SvPVX(sv), payload->len, char);
        SvCUR_set(sv, payload->len);
        *SvEND(sv) = '\0';
        SvPOK_only(sv);
        SvTAINT(sv);
    }
    else {
        sv_setpvn(sv, (const char *)payload->data, payload->len);
    }
    /* The bytes are another process's; Perl reads beyond malformed ones. */
    if (payload->utf8 && is_utf8_string((const U8 *)SvPVX(sv), SvCUR(sv)))
        SvUTF8_on(sv);
    else
        SvUTF8_off(sv);
}

PERL_STATIC_INLINE void set_offset(pTHX_ SV *sv, uint64_t offset) {
    if (LIKELY((SvFLAGS(sv) & ~SVs_PADTMP) == (SVt_IV | SVf_IOK | SVp_IOK))) {
        SvIV_set(sv, offset);
        SvTAINT(sv);
    }
    else {
        sv_setuv_mg(sv, offset);
    }
}

static uint64_t position_of(pTHX_ SV *arg, const char *method) {
    const NV number = number_of(aTHX_ arg, method, "position");
    if (number < 0 || number >= 1e18 || number != Perl_floor(number))
        Perl_croak(aTHX_ CLASS "%s: %" NVgf " is no position", method, number);
    return (uint64_t)number;
}

/* Beyond this, copying into the variable's own buffer costs more than handing over the buffer. */
#define LARGE 1250

/* The payload as a return value: in the op's TARG, with not a byte to spare for Perl to share it
 * copy-on-write, so that assigning it copies into the variable's own buffer, or in a mortal whose
 * buffer the assignment takes. */
static SV *returned_payload(pTHX_ SV *targ, const dls_payload *payload) {
    if (payload->len > LARGE) {
        SV *sv = sv_newmortal();
        set_payload(aTHX_ sv, payload);
        return sv;
    }
    set_payload(aTHX_ targ, payload);
    if (SvLEN(targ) > payload->len + 1)
        SvLEN_set(targ, payload->len + 1);
    SvSETMAGIC(targ);
    return targ;
}

static const MGVTBL pair_vtable = {NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL};

/* An op has one TARG. Two values hang on it, and are copied by whoever keeps them as a TARG is; a new
 * mortal would be an eighth of a read. The TARG itself is not returned: what has or had magic makes
 * every variable that it is assigned to larger. NULL where the TARG is not an op's. */
static MAGIC *pair_of(pTHX_ SV *targ) {
    MAGIC *mg = SvTYPE(targ) >= SVt_PVMG ? SvMAGIC(targ) : NULL;
    SV *first, *second;
    while (mg && mg->mg_virtual != &pair_vtable)
        mg = mg->mg_moremagic;
    if (LIKELY(mg) || !SvPADTMP(targ))
        return mg;
    first = newSVpvs("");
    second = newSViv(0);
    SvPADTMP_on(first);
    SvPADTMP_on(second);
    mg = sv_magicext(targ, second, PERL_MAGIC_ext, &pair_vtable, (const char *)first, HEf_SVKEY);
    /* It is there to be found, and does nothing that Perl would have to look out for. */
    SvRMAGICAL_off(targ);
    SvREFCNT_dec_NN(first);
    SvREFCNT_dec_NN(second);
    return mg;
}

static bool is_reusable(const SV *sv) {
    return sv && SvREFCNT(sv) == 1 && !SvTHINKFIRST(sv) && !SvMAGICAL(sv) && !SvOBJECT(sv)
        && SvTYPE(sv) <= SVt_PVMG;
}

/* Makes @_ anew as far as the last call has kept or changed something of it. What is dropped may run
 * the user's code, so it is dropped last, and all is looked at again. */
static SV **renewed_arguments(pTHX) {
    for (;;) {
        AV *args = GvAV(PL_defgv);
        SV *old = NULL;
        if (!args || SvREFCNT(args) != 1 || SvMAGICAL(args) || !AvREAL(args) || AvFILLp(args) != 1) {
            AV *fresh = newAV();
            av_push(fresh, newSV(0));
            av_push(fresh, newSV(0));
            GvAV(PL_defgv) = fresh;
            old = (SV *)args;
        }
        else {
            SV **slots = AvARRAY(args);
            SV **slot = is_reusable(slots[0]) ? slots + 1 : slots;
            if (is_reusable(*slot))
                return slots;
            old = *slot;
            *slot = newSV(0);
        }
        SvREFCNT_dec(old);
    }
}

static uint64_t each_by_multicall(pTHX_ MAGIC *mg, CV *code, uint64_t at, uint64_t patience) {
    dSP;
    dMULTICALL;
    U8 gimme = G_VOID;
    I32 scope;

    ENTER;
    save_ary(PL_defgv);
    PUSH_MULTICALL(code);
    scope = PL_savestack_ix;
    for (;;) {
        dls_payload payload;
        SV **slots = renewed_arguments(aTHX);
        if (mg->mg_private & DESTROYED
            || dls_next(LOG(mg), at, patience, &payload) != DLS_STATUS_OK)
            break;
        set_payload(aTHX_ slots[0], &payload);
        set_offset(aTHX_ slots[1], payload.offset);
        MULTICALL;
        LEAVE_SCOPE(scope);
        FREETMPS;
        at = payload.next;
    }
    POP_MULTICALL;
    LEAVE;
    return at;
}

static uint64_t each_by_call(pTHX_ MAGIC *mg, CV *code, uint64_t at, uint64_t patience) {
    dSP;
    dls_payload payload;

    PUSHSTACKi(PERLSI_MULTICALL);
    while (dls_next(LOG(mg), at, patience, &payload) == DLS_STATUS_OK) {
        SV *data;
        ENTER;
        SAVETMPS;
        data = sv_newmortal();
        set_payload(aTHX_ data, &payload);
        PUSHMARK(SP);
        EXTEND(SP, 2);
        PUSHs(data);
        mPUSHu(payload.offset);
        PUTBACK;
        call_sv((SV *)code, G_VOID | G_DISCARD);
        SPAGAIN;
        FREETMPS;
        LEAVE;
        at = payload.next;
        if (mg->mg_private & DESTROYED)
            break;
    }
    POPSTACK;
    return at;
}

static CV *code_of(pTHX_ SV *callback, const char *method) {
    HV *stash;
    GV *gv;
    callback = fetched(aTHX_ callback);
    if (!SvROK(callback) || (SvTYPE(SvRV(callback)) != SVt_PVCV && !SvAMAGIC(callback)))
        Perl_croak(aTHX_ CLASS "%s: callback is not a code reference", method);
    return sv_2cv(callback, &stash, &gv, 0);
}

/* log_append($log, $data) and log_next($cursor) become ops of their own where they are compiled, if
 * their operands can only be single scalars. An operand that is no live handle of ours, or no plain
 * string, goes the XSUB's way. */
static OP *call_xsub(pTHX_ const char *name, int count) {
    dSP;
    /* The call leaves PL_op to be restored by the scope that it is in. */
    ENTER;
    PUSHMARK(SP - count);
    call_pv(name, G_SCALAR);
    LEAVE;
    return NORMAL;
}

static OP *pp_log_append(pTHX) {
    dSP;
    dTARGET;
    SV *const data = TOPs;
    MAGIC *const mg = find_handle(TOPm1s, &log_vtable);
    dls_error *error;
    uint64_t offset;

    if (UNLIKELY(!mg || mg->mg_private & DESTROYED || SvGMAGICAL(TOPm1s) || !IS_PLAIN_STRING(data)))
        return call_xsub(aTHX_ CLASS "::log_append", 2);
    switch (dls_append(LOG(mg), BYTES(data), SvCUR(data), cBOOL(SvUTF8(data)), &offset, &error)) {
    case DLS_STATUS_OK:
        SP--;
        SETu(offset);
        break;
    case DLS_STATUS_ERROR:
        croak_error(aTHX_ "->append", error);
    default:
        SP--;
        SETs(&PL_sv_undef);
    }
    RETURN;
}

static OP *pp_log_next(pTHX) {
    dSP;
    dTARGET;
    MAGIC *const mg = find_handle(TOPs, &cursor_vtable);
    dls_payload payload;

    if (UNLIKELY(!mg || mg->mg_private & DESTROYED || SvGMAGICAL(TOPs)))
        return call_xsub(aTHX_ CLASS "::log_next", 1);
    if (dls_cursor_next(CURSOR(mg), &payload) == DLS_STATUS_OK)
        SETs(returned_payload(aTHX_ TARG, &payload));
    else
        SETs(&PL_sv_undef);
    RETURN;
}

static XOP log_append_xop, log_next_xop;

/* Not what may be a list, nor what wants to know that it is a sub's argument. */
static bool is_scalar_operand(const OP *op) {
    switch (op->op_type) {
    case OP_PADSV:
    case OP_CONST:
    case OP_RV2SV:
    case OP_CONCAT:
    case OP_STRINGIFY:
    case OP_JOIN:
    case OP_SPRINTF:
        return TRUE;
    default:
        return FALSE;
    }
}

static OP *check_call(pTHX_ OP *entersub, GV *name, SV *code, int count, OP *(*function)(pTHX)) {
    OP *parent = entersub;
    OP *before = cUNOPx(entersub)->op_first;
    OP *operand, *first, *op;
    int i;

    if (!OpHAS_SIBLING(before)) {
        parent = before;
        before = cUNOPx(before)->op_first;
    }
    operand = OpSIBLING(before);
    for (i = 0; i < count && operand && is_scalar_operand(operand); i++)
        operand = OpSIBLING(operand);
    /* What is left must be the sub itself. */
    if (i < count || !operand || OpHAS_SIBLING(operand) || PERLDB_SUB)
        return ck_entersub_args_proto_or_list(entersub, name, code);

    first = op_sibling_splice(parent, before, count, NULL);
    op_free(entersub);
    if (count == 2) {
        OP *second = OpSIBLING(first);
        OpLASTSIB_set(first, NULL);
        op = newBINOP(OP_CUSTOM, 0, op_contextualize(first, G_SCALAR),
            op_contextualize(second, G_SCALAR));
    }
    else {
        op = newUNOP(OP_CUSTOM, 0, op_contextualize(first, G_SCALAR));
    }
    op->op_ppaddr = function;
    op->op_targ = pad_alloc(OP_CUSTOM, SVs_PADTMP);
    return op;
}

static OP *check_log_append(pTHX_ OP *entersub, GV *name, SV *code) {
    return check_call(aTHX_ entersub, name, code, 2, pp_log_append);
}

static OP *check_log_next(pTHX_ OP *entersub, GV *name, SV *code) {
    return check_call(aTHX_ entersub, name, code, 1, pp_log_next);
}

static void install_op(
    pTHX_ XOP *xop, const char *name, U32 class, OP *(*function)(pTHX), Perl_call_checker checker
) {
    CV *code = get_cvn_flags(name, strlen(name), 0);
    XopENTRY_set(xop, xop_name, strrchr(name, ':') + 1);
    XopENTRY_set(xop, xop_desc, strrchr(name, ':') + 1);
    XopENTRY_set(xop, xop_class, class);
    Perl_custom_op_register(aTHX_ function, xop);
    cv_set_call_checker(code, checker, (SV *)code);
}

#define STORE(hash, key, value) (void)hv_stores(hash, key, newSVuv(value))

MODULE = Data::Log::Shared  PACKAGE = Data::Log::Shared

PROTOTYPES: DISABLE

BOOT:
    install_op(aTHX_ &log_append_xop, CLASS "::log_append", OA_BINOP, pp_log_append,
        check_log_append);
    install_op(aTHX_ &log_next_xop, CLASS "::log_next", OA_UNOP, pp_log_next, check_log_next);

SV *
new(SV *class, SV *path, SV *size, SV *mode = NULL, ...)
  PREINIT:
    dls_making making = {0, 0600, -1, -1};
    dls_log *log = NULL;
    dls_error *error = NULL;
    dls_status status;
    HV *stash;
    I32 i;
  CODE:
    if (items > 4 && items % 2)
        croak(CLASS "->new: odd number of options");
    making.size = number_of(aTHX_ size, "->new", "size");
    mode = mode ? fetched(aTHX_ mode) : NULL;
    if (mode && SvOK(mode))
        making.mode = number_of(aTHX_ mode, "->new", "mode");
    for (i = 4; i < items; i += 2) {
        const char *option = SvPV_nolen(ST(i));
        int8_t *target = strEQ(option, "sparse") ? &making.sparse
            : strEQ(option, "checksum")          ? &making.checksum
                                                 : NULL;
        if (!target)
            croak(CLASS "->new: unknown option \"%s\"", option);
        *target = cBOOL(SvTRUE(ST(i + 1)));
    }
    stash = class_of(aTHX_ class);
    path = fetched(aTHX_ path);
    if (SvOK(path)) {
        path = plain_string(aTHX_ path);
        status = dls_open(BYTES(path), SvCUR(path), &making, &log, &error);
    }
    else {
        status = dls_in_memory(NULL, 0, &making, &log, &error);
    }
    if (status != DLS_STATUS_OK)
        croak_error(aTHX_ "->new", error);
    RETVAL = wrap(aTHX_ stash, log, &log_vtable, SvUTF8(path) ? PATH_IS_UTF8 : 0);
  OUTPUT:
    RETVAL

SV *
new_memfd(SV *class, SV *name, SV *size)
  PREINIT:
    dls_making making = {0, 0600, -1, -1};
    dls_log *log = NULL;
    dls_error *error = NULL;
    HV *stash;
  CODE:
    making.size = number_of(aTHX_ size, "->new_memfd", "size");
    stash = class_of(aTHX_ class);
    name = fetched(aTHX_ name);
    name = SvOK(name) ? plain_string(aTHX_ name) : newSVpvs_flags(CLASS, SVs_TEMP);
    if (dls_in_memory(BYTES(name), SvCUR(name), &making, &log, &error) != DLS_STATUS_OK)
        croak_error(aTHX_ "->new_memfd", error);
    RETVAL = wrap(aTHX_ stash, log, &log_vtable, 0);
  OUTPUT:
    RETVAL

SV *
new_readonly(SV *class, SV *path)
  PREINIT:
    dls_log *log = NULL;
    dls_error *error = NULL;
    HV *stash;
  CODE:
    stash = class_of(aTHX_ class);
    path = plain_string(aTHX_ path);
    if (dls_open_readonly(BYTES(path), SvCUR(path), &log, &error) != DLS_STATUS_OK)
        croak_error(aTHX_ "->new_readonly", error);
    RETVAL = wrap(aTHX_ stash, log, &log_vtable, SvUTF8(path) ? PATH_IS_UTF8 : 0);
  OUTPUT:
    RETVAL

SV *
new_from_fd(SV *class, SV *fd)
  PREINIT:
    dls_log *log = NULL;
    dls_error *error = NULL;
    HV *stash;
    int descriptor;
  CODE:
    descriptor = descriptor_of(aTHX_ fd, "->new_from_fd");
    stash = class_of(aTHX_ class);
    if (dls_from_fd(descriptor, &log, &error) != DLS_STATUS_OK)
        croak_error(aTHX_ "->new_from_fd", error);
    RETVAL = wrap(aTHX_ stash, log, &log_vtable, 0);
  OUTPUT:
    RETVAL

void
DESTROY(SV *self)
  CODE:
    destroy(aTHX_ self, &log_vtable);

UV
append(SV *self, SV *data)
  ALIAS:
    log_append = 1
  PREINIT:
    MAGIC *mg;
    dls_error *error;
    uint64_t offset;
  CODE:
    /* The invocant of a method was fetched to find the method. */
    if (ix)
        SvGETMAGIC(self);
    mg = LIVE_LOG("append");
    if (UNLIKELY(!IS_PLAIN_STRING(data))) {
        pin(aTHX_ self);
        data = plain_string(aTHX_ data);
        croak_unless_live(aTHX_ mg, "->append");
    }
    switch (dls_append(LOG(mg), BYTES(data), SvCUR(data), cBOOL(SvUTF8(data)), &offset, &error)) {
    case DLS_STATUS_OK:
        break;
    case DLS_STATUS_ERROR:
        croak_error(aTHX_ "->append", error);
    default:
        XSRETURN_UNDEF;
    }
    RETVAL = offset;
  OUTPUT:
    RETVAL

void
append_multi(SV *self, ...)
  PREINIT:
    MAGIC *mg;
    dls_error *error;
    dls_data few[64];
    dls_data *data = few;
    uint64_t *offsets = NULL;
    const I32 count = items - 1;
    const U8 gimme = GIMME_V;
    I32 i;
  PPCODE:
    mg = LIVE_LOG("append_multi");
    pin(aTHX_ self);
    if (count > (I32)C_ARRAY_LENGTH(few))
        data = (dls_data *)SvPVX(sv_2mortal(newSV(count * sizeof *data)));
    for (i = 0; i < count && IS_PLAIN_STRING(ST(i + 1)); i++)
        data[i] = data_of(ST(i + 1));
    if (i < count) {
        /* The user's code may change or free any of the others. */
        for (i = 1; i <= count; i++)
            if (IS_PLAIN_STRING(ST(i)))
                ST(i) = sv_mortalcopy(ST(i));
            else
                sv_2mortal(SvREFCNT_inc_simple_NN(ST(i)));
        for (i = 1; i <= count; i++)
            ST(i) = plain_string(aTHX_ ST(i));
        croak_unless_live(aTHX_ mg, "->append_multi");
        for (i = 0; i < count; i++)
            data[i] = data_of(ST(i + 1));
    }
    if (gimme == G_LIST)
        offsets = (uint64_t *)SvPVX(sv_2mortal(newSV(count * sizeof *offsets + 1)));
    switch (dls_append_multi(LOG(mg), data, count, offsets, &error)) {
    case DLS_STATUS_ERROR:
        croak_error(aTHX_ "->append_multi", error);
    case DLS_STATUS_OK:
        if (gimme == G_LIST) {
            for (i = 0; i < count; i++)
                ST(i) = sv_2mortal(newSVuv(offsets[i]));
            XSRETURN(count);
        }
        XSRETURN_IV(count);
    default:
        if (gimme == G_LIST)
            XSRETURN_EMPTY;
        XSRETURN_IV(0);
    }

SV *
cursor(SV *self, SV *from = NULL)
  PREINIT:
    MAGIC *mg;
    dls_cursor_t *cursor;
    uint64_t at = DLS_NOWHERE;
  CODE:
    mg = LIVE_LOG("cursor");
    pin(aTHX_ self);
    from = from ? fetched(aTHX_ from) : NULL;
    if (from && SvOK(from))
        at = position_of(aTHX_ from, "->cursor");
    croak_unless_live(aTHX_ mg, "->cursor");
    cursor = dls_cursor(LOG(mg), at);
    if (!cursor)
        croak(CLASS "->cursor: out of memory");
    RETVAL = wrap(aTHX_ gv_stashpvs(CLASS "::Cursor", GV_ADD), cursor, &cursor_vtable, 0);
  OUTPUT:
    RETVAL

void
read_entry(SV *self, SV *offset, SV *patience = NULL)
  ALIAS:
    log_read = 1
  PREINIT:
    dXSTARG;
    MAGIC *mg, *pair;
    dls_payload payload;
    SV *first, *second;
    uint64_t at, patience_us;
  PPCODE:
    if (ix)
        SvGETMAGIC(self);
    mg = LIVE_LOG("read_entry");
    if (LIKELY(IS_PLAIN_INDEX(offset) && !patience)) {
        at = SvUVX(offset);
        patience_us = DLS_DEFAULT_PATIENCE;
    }
    else {
        pin(aTHX_ self);
        at = whole_number_of(aTHX_ offset, "->read_entry", "offset");
        patience_us = patience_of(aTHX_ patience, "->read_entry");
        croak_unless_live(aTHX_ mg, "->read_entry");
    }
    if (dls_read(LOG(mg), at, patience_us, &payload) != DLS_STATUS_OK)
        XSRETURN_EMPTY;
    XSprePUSH;
    EXTEND(SP, 2);
    pair = pair_of(aTHX_ TARG);
    first = pair ? (SV *)pair->mg_ptr : TARG;
    second = pair ? pair->mg_obj : sv_newmortal();
    PUSHs(returned_payload(aTHX_ first, &payload));
    set_offset(aTHX_ second, payload.next);
    PUSHs(second);

UV
each_entry(SV *self, SV *callback, SV *from = NULL, SV *patience = NULL)
  PREINIT:
    MAGIC *mg;
    CV *code;
    uint64_t at, patience_us;
  CODE:
    mg = LIVE_LOG("each_entry");
    pin(aTHX_ self);
    from = from ? fetched(aTHX_ from) : NULL;
    at = from && SvOK(from) ? whole_number_of(aTHX_ from, "->each_entry", "offset") : UINT64_MAX;
    patience_us = patience_of(aTHX_ patience, "->each_entry");
    code = code_of(aTHX_ callback, "->each_entry");
    sv_2mortal(SvREFCNT_inc_simple_NN((SV *)code));
    croak_unless_live(aTHX_ mg, "->each_entry");
    if (!from || !SvOK(from)) {
        at = dls_truncation(LOG(mg));
    }
    else if (at == UINT64_MAX) {
        ST(0) = sv_mortalcopy(from);
        XSRETURN(1);
    }
    if (CvROOT(code) && !CvISXSUB(code) && !(CvCLONE(code) && !CvCLONED(code)) && !PERLDB_SUB)
        RETVAL = each_by_multicall(aTHX_ mg, code, at, patience_us);
    else
        RETVAL = each_by_call(aTHX_ mg, code, at, patience_us);
    croak_unless_live(aTHX_ mg, "->each_entry");
  OUTPUT:
    RETVAL

UV
entry_count(SV *self)
  ALIAS:
    tail_offset = 1
    data_size = 2
    available = 3
    truncation = 4
  PREINIT:
    static const char *const methods[] = {
        "->entry_count", "->tail_offset", "->data_size", "->available", "->truncation"
    };
    static uint64_t (*const functions[])(const dls_log *) = {
        dls_entry_count, dls_tail_offset, dls_data_size, dls_available, dls_truncation
    };
    MAGIC *mg;
  CODE:
    mg = live_handle(aTHX_ self, &log_vtable, methods[ix]);
    RETVAL = functions[ix](LOG(mg));
  OUTPUT:
    RETVAL

UV
truncate(SV *self, SV *offset)
  PREINIT:
    MAGIC *mg;
    dls_error *error;
    dls_status status;
    uint64_t target, truncation;
    NV number;
  CODE:
    mg = LIVE_LOG("truncate");
    pin(aTHX_ self);
    number = number_of(aTHX_ offset, "->truncate", "offset");
    if (number < 0)
        croak(CLASS "->truncate: offset %" NVgf " is negative", number);
    croak_unless_live(aTHX_ mg, "->truncate");
    target = number >= 1e18 ? UINT64_MAX : (uint64_t)number;
    if (target > dls_tail_offset(LOG(mg)))
        target = dls_tail_offset(LOG(mg));
    while ((status = dls_truncate(LOG(mg), target, &truncation, &error)) == DLS_STATUS_AGAIN) {
        PERL_ASYNC_CHECK();
        croak_unless_live(aTHX_ mg, "->truncate");
    }
    if (status == DLS_STATUS_ERROR)
        croak_error(aTHX_ "->truncate", error);
    RETVAL = truncation;
  OUTPUT:
    RETVAL

IV
wait_for(SV *self, SV *expected, SV *seconds = NULL)
  PREINIT:
    MAGIC *mg;
    uint64_t count, deadline;
    dls_status status;
    bool first = TRUE;
  CODE:
    mg = LIVE_LOG("wait_for");
    pin(aTHX_ self);
    count = whole_number_of(aTHX_ expected, "->wait_for", "count");
    deadline = deadline_of(aTHX_ seconds, "->wait_for");
    do {
        croak_unless_live(aTHX_ mg, "->wait_for");
        status = dls_wait(LOG(mg), count, deadline, first);
        first = FALSE;
        if (status == DLS_STATUS_AGAIN)
            PERL_ASYNC_CHECK();
    } while (status == DLS_STATUS_AGAIN);
    RETVAL = status == DLS_STATUS_OK;
  OUTPUT:
    RETVAL

void
reset(SV *self)
  PREINIT:
    MAGIC *mg;
    dls_error *error;
  PPCODE:
    mg = LIVE_LOG("reset");
    if (dls_reset(LOG(mg), &error) == DLS_STATUS_ERROR)
        croak_error(aTHX_ "->reset", error);
    XSRETURN_YES;

void
sync(SV *self)
  PREINIT:
    MAGIC *mg;
    dls_error *error;
    dls_status status;
    uint64_t end;
  PPCODE:
    mg = LIVE_LOG("sync");
    pin(aTHX_ self);
    end = dls_tail_offset(LOG(mg));
    while ((status = dls_sync(LOG(mg), end, &error)) == DLS_STATUS_AGAIN) {
        PERL_ASYNC_CHECK();
        croak_unless_live(aTHX_ mg, "->sync");
    }
    if (status == DLS_STATUS_ERROR)
        croak_error(aTHX_ "->sync", error);
    XSRETURN_YES;

void
unlink(SV *self, SV *path = NULL)
  PREINIT:
    dls_error *error;
    dls_status status;
  PPCODE:
    if (SvROK(self) || !path) {
        MAGIC *mg = LIVE_LOG("unlink");
        status = dls_unlink(LOG(mg), &error);
    }
    else {
        path = fetched(aTHX_ path);
        if (!SvOK(path))
            croak(CLASS "->unlink: path is undef");
        path = plain_string(aTHX_ path);
        status = dls_unlink_path(BYTES(path), SvCUR(path), &error);
    }
    if (status == DLS_STATUS_ERROR)
        croak_error(aTHX_ "->unlink", error);
    XSRETURN_YES;

void
path(SV *self)
  PREINIT:
    MAGIC *mg;
    size_t len;
    const uint8_t *path;
  PPCODE:
    mg = LIVE_LOG("path");
    path = dls_path(LOG(mg), &len);
    if (!path)
        XSRETURN_UNDEF;
    ST(0) = newSVpvn_flags((const char *)path, len,
        SVs_TEMP | (mg->mg_private & PATH_IS_UTF8 ? SVf_UTF8 : 0));
    XSRETURN(1);

IV
memfd(SV *self)
  ALIAS:
    fileno = 1
  PREINIT:
    MAGIC *mg;
  CODE:
    mg = live_handle(aTHX_ self, &log_vtable, ix ? "->fileno" : "->memfd");
    RETVAL = ix ? dls_fileno(LOG(mg)) : dls_memfd(LOG(mg));
  OUTPUT:
    RETVAL

IV
eventfd(SV *self)
  ALIAS:
    watch = 1
  PREINIT:
    const char *method = ix ? "->watch" : "->eventfd";
    MAGIC *mg;
    dls_error *error;
    int fd;
  CODE:
    mg = live_handle(aTHX_ self, &log_vtable, method);
    if ((ix ? dls_watch : dls_eventfd)(LOG(mg), &fd, &error) == DLS_STATUS_ERROR)
        croak_error(aTHX_ method, error);
    RETVAL = fd;
  OUTPUT:
    RETVAL

void
unwatch(SV *self)
  PREINIT:
    MAGIC *mg;
  PPCODE:
    mg = LIVE_LOG("unwatch");
    dls_unwatch(LOG(mg));
    XSRETURN_YES;

void
eventfd_set(SV *self, SV *fd)
  PREINIT:
    MAGIC *mg;
    dls_error *error;
    int descriptor;
  PPCODE:
    mg = LIVE_LOG("eventfd_set");
    pin(aTHX_ self);
    descriptor = descriptor_of(aTHX_ fd, "->eventfd_set");
    croak_unless_live(aTHX_ mg, "->eventfd_set");
    if (dls_eventfd_set(LOG(mg), descriptor, &error) == DLS_STATUS_ERROR)
        croak_error(aTHX_ "->eventfd_set", error);
    XSRETURN_YES;

void
notify(SV *self)
  PREINIT:
    MAGIC *mg;
    dls_error *error;
    dls_status status;
  PPCODE:
    mg = LIVE_LOG("notify");
    status = dls_notify(LOG(mg), &error);
    if (status == DLS_STATUS_ERROR)
        croak_error(aTHX_ "->notify", error);
    if (status == DLS_STATUS_OK)
        XSRETURN_YES;
    XSRETURN_NO;

UV
eventfd_consume(SV *self)
  PREINIT:
    MAGIC *mg;
    dls_error *error;
    uint64_t count;
  CODE:
    mg = LIVE_LOG("eventfd_consume");
    switch (dls_eventfd_consume(LOG(mg), &count, &error)) {
    case DLS_STATUS_OK:
        break;
    case DLS_STATUS_ERROR:
        croak_error(aTHX_ "->eventfd_consume", error);
    default:
        XSRETURN_UNDEF;
    }
    RETVAL = count;
  OUTPUT:
    RETVAL

SV *
stats(SV *self)
  PREINIT:
    MAGIC *mg;
    dls_stats_t stats;
    HV *hash;
  CODE:
    mg = LIVE_LOG("stats");
    stats = dls_stats(LOG(mg));
    hash = newHV();
    RETVAL = newRV_noinc((SV *)hash);
    STORE(hash, "data_size", stats.data_size);
    STORE(hash, "tail", stats.tail);
    STORE(hash, "count", stats.count);
    STORE(hash, "available", stats.available);
    STORE(hash, "waiters", stats.waiters);
    STORE(hash, "appends", stats.appends);
    STORE(hash, "waits", stats.waits);
    STORE(hash, "timeouts", stats.timeouts);
    STORE(hash, "mmap_size", stats.mmap_size);
    STORE(hash, "truncation", stats.truncation);
    STORE(hash, "generation", stats.generation);
    STORE(hash, "synced", stats.synced);
    STORE(hash, "sealed", stats.sealed);
    STORE(hash, "damaged", stats.damaged);
    STORE(hash, "recoveries", stats.recoveries);
    STORE(hash, "sync_failed", stats.sync_failed);
    STORE(hash, "checksum", stats.checksum);
    STORE(hash, "sparse", stats.sparse);
  OUTPUT:
    RETVAL

SV *
verify(SV *self, SV *callback = NULL)
  PREINIT:
    static const char *const kinds[] = {"sealed", "damaged", "unfinished"};
    MAGIC *mg;
    CV *code = NULL;
    dls_verified found = {0, 0, 0, 0};
    dls_place place;
    uint64_t from = 0;
    HV *hash;
  CODE:
    mg = LIVE_LOG("verify");
    pin(aTHX_ self);
    if (callback) {
        code = code_of(aTHX_ callback, "->verify");
        sv_2mortal(SvREFCNT_inc_simple_NN((SV *)code));
        croak_unless_live(aTHX_ mg, "->verify");
    }
    while (dls_verify_on(LOG(mg), &from, &found, &place) == DLS_STATUS_OK) {
        if (code) {
            ENTER;
            SAVETMPS;
            PUSHMARK(SP);
            EXTEND(SP, 3);
            mPUSHp(kinds[place.kind], strlen(kinds[place.kind]));
            mPUSHu(place.offset);
            mPUSHu(place.size);
            PUTBACK;
            call_sv((SV *)code, G_VOID | G_DISCARD);
            SPAGAIN;
            FREETMPS;
            LEAVE;
            croak_unless_live(aTHX_ mg, "->verify");
        }
    }
    hash = newHV();
    RETVAL = newRV_noinc((SV *)hash);
    STORE(hash, "entries", found.entries);
    STORE(hash, "bytes", found.bytes);
    STORE(hash, "sealed", found.sealed);
    STORE(hash, "damaged", found.damaged);
  OUTPUT:
    RETVAL

MODULE = Data::Log::Shared  PACKAGE = Data::Log::Shared::Cursor

void
DESTROY(SV *self)
  CODE:
    destroy(aTHX_ self, &cursor_vtable);

void
next(SV *self, SV *seconds = NULL)
  ALIAS:
    Data::Log::Shared::log_next = 1
  PREINIT:
    dXSTARG;
    MAGIC *mg;
    dls_payload payload;
    uint64_t deadline;
    bool first = TRUE;
  PPCODE:
    if (ix)
        SvGETMAGIC(self);
    mg = LIVE_CURSOR("next");
    if (seconds) {
        pin(aTHX_ self);
        deadline = deadline_of(aTHX_ seconds, "::Cursor->next");
        croak_unless_live(aTHX_ mg, "::Cursor->next");
    }
    while (dls_cursor_next(CURSOR(mg), &payload) != DLS_STATUS_OK) {
        if (!seconds || dls_cursor_wait(CURSOR(mg), deadline, first) == DLS_STATUS_NONE)
            XSRETURN_UNDEF;
        first = FALSE;
        PERL_ASYNC_CHECK();
        croak_unless_live(aTHX_ mg, "::Cursor->next");
    }
    ST(0) = returned_payload(aTHX_ TARG, &payload);
    XSRETURN(1);

void
next_multi(SV *self, SV *max)
  PREINIT:
    MAGIC *mg;
    dls_payload payload;
    uint64_t left;
    NV number;
  PPCODE:
    mg = LIVE_CURSOR("next_multi");
    pin(aTHX_ self);
    number = number_of(aTHX_ max, "::Cursor->next_multi", "count");
    if (number < 0)
        croak(CLASS "::Cursor->next_multi: count %" NVgf " is negative", number);
    left = number >= 1e18 ? UINT64_MAX : (uint64_t)number;
    croak_unless_live(aTHX_ mg, "::Cursor->next_multi");
    XSprePUSH;
    for (; left > 0 && dls_cursor_next(CURSOR(mg), &payload) == DLS_STATUS_OK; left--) {
        SV *data = sv_newmortal();
        set_payload(aTHX_ data, &payload);
        XPUSHs(data);
    }

UV
offset(SV *self)
  PREINIT:
    MAGIC *mg;
  CODE:
    mg = LIVE_CURSOR("offset");
    RETVAL = dls_cursor_offset(CURSOR(mg));
    if (RETVAL == DLS_NOWHERE)
        XSRETURN_UNDEF;
  OUTPUT:
    RETVAL

UV
position(SV *self)
  ALIAS:
    lag = 1
    missed = 2
  PREINIT:
    static const char *const methods[] = {"::Cursor->position", "::Cursor->lag", "::Cursor->missed"};
    static uint64_t (*const functions[])(const dls_cursor_t *) = {
        dls_cursor_position, dls_cursor_lag, dls_cursor_missed
    };
    MAGIC *mg;
  CODE:
    mg = live_handle(aTHX_ self, &cursor_vtable, methods[ix]);
    RETVAL = functions[ix](CURSOR(mg));
  OUTPUT:
    RETVAL

void
seek(SV *self, SV *position)
  PREINIT:
    MAGIC *mg;
    uint64_t at;
  PPCODE:
    mg = LIVE_CURSOR("seek");
    pin(aTHX_ self);
    at = position_of(aTHX_ position, "::Cursor->seek");
    croak_unless_live(aTHX_ mg, "::Cursor->seek");
    dls_cursor_seek(CURSOR(mg), at);
    XSRETURN_YES;
