/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The reasons of reasons.h as an enum, and the verdict of each. */
#ifndef PYDSR_VERDICTS_H
#define PYDSR_VERDICTS_H

#include "bpf.h"

enum reason {
#define REASON(number, name, verdict, text) REASON_##name = number,
#include "reasons.h"
#undef REASON
};

enum {
	REASONS_COUNT = 0
#define REASON(number, name, verdict, text) +1
#include "reasons.h"
#undef REASON
};

_Static_assert(((0ULL
#define REASON(number, name, verdict, text) | 1ULL << number
#include "reasons.h"
#undef REASON
		 ) == (1ULL << REASONS_COUNT) - 1),
	       "numbers of reasons start at 0, without gaps or duplicates");

/* The verdicts of all reasons in one number, so that none takes a branch. */
#define VERDICT_BITS 2
#define VERDICT_MASK ((1 << VERDICT_BITS) - 1)
static const __u64 VERDICTS = 0
#define REASON(number, name, verdict, text) \
	| (__u64)XDP_##verdict << VERDICT_BITS * number
#include "reasons.h"
#undef REASON
	;
_Static_assert(VERDICT_BITS *REASONS_COUNT <= 64, "VERDICTS has room for all");
_Static_assert(XDP_TX <= VERDICT_MASK, "a verdict fits VERDICT_BITS");

static __always_inline int reason_verdict(enum reason reason)
{
	return VERDICTS >> (VERDICT_BITS * reason) & VERDICT_MASK;
}

/*
 * Whether backend_choose() found a backend, or deliver() could send the frame.
 * One comparison is cheaper than reason_verdict(). It requires that the range
 * contains every reason by which they let a packet pass, and none by which they
 * refuse one.
 */
#define REASON_FORWARDS_LAST REASON_FORWARDED_CURRENT

static __always_inline bool reason_forwards(enum reason reason)
{
	return reason <= REASON_FORWARDS_LAST;
}

_Static_assert((0
#define REASON(number, name, verdict, text) \
	+(number <= REASON_FORWARDS_LAST && XDP_##verdict != XDP_TX)
#include "reasons.h"
#undef REASON
		) == 0,
	       "all reasons that reason_forwards() accepts have verdict TX");

#endif
