/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Spreading frames over flows: a flow's number sets the low 16 bits of the
 * source address, and the source port.
 */
#ifndef BENCH_FLOWS_H
#define BENCH_FLOWS_H

#include <linux/types.h>

#define PORTS_PER_ADDRESS 1024
#define FIRST_PORT 1024
#define OFFSET_MASK 0x7f

static __always_inline __u16 flow_address(__u32 flow)
{
	return flow / PORTS_PER_ADDRESS;
}

static __always_inline __u16 flow_port(__u32 flow)
{
	return FIRST_PORT + flow % PORTS_PER_ADDRESS;
}

static __always_inline bool word_store(struct xdp_md *ctx, __u16 offset,
				       __u16 value)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	__be16 *word = data + (offset & OFFSET_MASK);

	if ((void *)(word + 1) > data_end)
		return false;
	*word = __builtin_bswap16(value);
	return true;
}

#endif
