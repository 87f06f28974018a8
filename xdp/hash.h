/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The keyed hash that chooses a slot. Values only. */
#ifndef PYDSR_HASH_H
#define PYDSR_HASH_H

#include "types.h"

/*
 * An odd multiplier whose multiply-and-fold rounds avalanche well; the one of
 * degski's 64-bit mixer. The seed is secret, so that nobody outside can choose
 * flows that meet in one slot.
 */
#define HASH_MULTIPLIER 0xd6e8feb86659fd93ULL

static __always_inline __u64 hash_mix(__u64 state, __u64 word)
{
	state ^= word;
	state ^= state >> 32;
	state *= HASH_MULTIPLIER;
	return state ^ state >> 32;
}

static __always_inline __u64 hash_words(__u64 seed, __u64 first, __u64 second,
					__u64 third)
{
	seed = hash_mix(seed, first);
	seed = hash_mix(seed, second);
	seed = hash_mix(seed, third);
	return seed * HASH_MULTIPLIER;
}

/* Scale a 32-bit hash to a slot; a multiplication where % would divide. */
static __always_inline __u32 hash_to_slot(__u32 hash)
{
	return (__u64)hash * TABLE_SIZE >> 32;
}

#endif
