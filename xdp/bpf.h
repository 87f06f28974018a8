/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Kernel types and helpers, byte order and branch hints.
 *
 * bcc puts its own helpers.h before every source: bpf_map_lookup_elem() and
 * the other helpers of the kernel are declared there, by their usual names.
 */
#ifndef PYDSR_BPF_H
#define PYDSR_BPF_H

#include <linux/types.h>

#define likely(condition) __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)

/* Macros, because case labels need constants; bcc has functions. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define bpf_htons(value) __builtin_bswap16(value)
#define bpf_ntohs(value) __builtin_bswap16(value)
#define bpf_htonl(value) __builtin_bswap32(value)
#define bpf_cpu_to_be64(value) __builtin_bswap64(value)
#else
#define bpf_htons(value) (value)
#define bpf_ntohs(value) (value)
#define bpf_htonl(value) (value)
#define bpf_cpu_to_be64(value) (value)
#endif

/*
 * Helpers return 64 bits. bcc declares these with int, which would cost two
 * instructions each to cut the rest off.
 */
#define bpf_redirect_map(map, key, flags)                                     \
	((long (*)(void *, __u64, __u64))BPF_FUNC_redirect_map)((map), (key), \
								(flags))
#define bpf_xdp_adjust_head(ctx, delta)                                   \
	((long (*)(struct xdp_md *, int))BPF_FUNC_xdp_adjust_head)((ctx), \
								   (delta))
#define bpf_xdp_adjust_tail(ctx, delta)                                   \
	((long (*)(struct xdp_md *, int))BPF_FUNC_xdp_adjust_tail)((ctx), \
								   (delta))

/* bcc's bpf_tail_call_() takes a map's number in place of the map. */
static long (*bpf_tail_call)(void *ctx, void *programs,
			     __u32 index) = (void *)BPF_FUNC_tail_call;

#endif
