/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The keyed hash that chooses a slot, and the hash of the service index. */
#ifndef PYDSR_HASH_H
#define PYDSR_HASH_H

#include "bpf.h"
#include "types.h"

/*
 * The odd multiplier of degski's 64-bit mixer: rounds of multiply and fold by
 * it avalanche well. The seed is secret, so that nobody outside can choose
 * flows that share a slot.
 */
#define HASH_MULTIPLIER 0xd6e8feb86659fd93ULL

/*
 * The seed, and the seed after a round with 0. The loader may replace the
 * numbers in the compiled program: in assembly, the compiler leaves them whole.
 */
#define SEED HASH_CONSTANT(PYDSR_SEED)
#define SEED_IPV4 HASH_CONSTANT(PYDSR_SEED_IPV4)
#define HASH_CONSTANT(number) HASH_LOAD(number)
#define HASH_LOAD(number)                                  \
	({                                                 \
		__u64 loaded;                              \
                                                           \
		asm("%0 = " #number " ll" : "=r"(loaded)); \
		loaded;                                    \
	})

static __always_inline __u64 hash_mix(__u64 state, __u64 word)
{
	state ^= word;
	state ^= state >> 32;
	state *= HASH_MULTIPLIER;
	return state ^ state >> 32;
}

static __always_inline __u64 hash_words(__u64 state, __u64 first, __u64 second)
{
	state = hash_mix(state, first);
	state = hash_mix(state, second);
	return state * HASH_MULTIPLIER;
}

/*
 * The hash of the service index needs no key, because nobody outside chooses
 * what the index holds. Its multiplications are independent of each other. Use
 * its high bits (Dietzfelbinger, "Universal hashing and k-wise independent
 * random variables via integer arithmetic", 1996).
 */
#define HASH_FIRST 0x9e3779b97f4a7c15ULL
#define HASH_SECOND 0xbf58476d1ce4e5b9ULL
#define HASH_TAIL 0x94d049bb133111ebULL

static __always_inline __u64 hash_address(const struct address *address)
{
	return address->halves[0] * HASH_FIRST +
	       address->halves[1] * HASH_SECOND;
}

/* Scale a 32-bit hash to a slot, without the division that % takes. */
static __always_inline __u32 hash_to_slot(__u32 hash)
{
	return (__u64)hash * TABLE_SIZE >> 32;
}

#endif
