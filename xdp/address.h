/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* IP addresses of both versions in one form: IPv4 as ::ffff:a.b.c.d. */
#ifndef PYDSR_ADDRESS_H
#define PYDSR_ADDRESS_H

#include "bpf.h"
#include "types.h"

#define IPV4_MAPPED_PREFIX bpf_htonl(0x0000ffff)

static __always_inline struct address address_map_ipv4(__be32 ipv4)
{
	struct address address = {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
		.halves = { 0, (__u64)ipv4 << 32 | IPV4_MAPPED_PREFIX },
#else
		.halves = { 0, (__u64)0x0000ffff << 32 | ipv4 },
#endif
	};

	return address;
}

static __always_inline struct address address_load_ipv6(const void *bytes)
{
	const __u64 *halves = bytes;
	struct address address = { .halves = { halves[0], halves[1] } };

	return address;
}

static __always_inline bool address_equals(const struct address *first,
					   const struct address *other)
{
	return first->halves[0] == other->halves[0] &&
	       first->halves[1] == other->halves[1];
}

static __always_inline bool address_is_ipv4(const struct address *address)
{
	return !address->halves[0] &&
	       (__u32)address->halves[1] == IPV4_MAPPED_PREFIX;
}

/* A mask for the first `bits` of half an address, in network byte order. */
static __always_inline __u64 prefix_mask(int bits)
{
	if (bits >= 64)
		return ~0ULL;
	return bits > 0 ? bpf_cpu_to_be64(~0ULL << (64 - bits)) : 0;
}

#endif
