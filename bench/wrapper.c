/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What a benchmark runs: the wrapper makes the frame what it was before the
 * last run, gives it the next flow, and calls the program under test; beside
 * it the two programs that pydsr is compared with.
 *
 * Compiled with PYDSR_FD_plan and PYDSR_FD_under_test defined.
 */
#include <uapi/linux/if_ether.h>

#include "maps.h"

#define PORTS_PER_ADDRESS 1024
#define FIRST_PORT 1024
#define OFFSET_MASK 0x7f
/* MACs, and tags if there are any: all that a program changes. */
#define HEAD_BYTES 24

/* One element, written by bench/harness.py before a measurement. */
struct plan {
	__u8 head[HEAD_BYTES];
	/* Where the source's last two octets and its port are; 0 is nowhere. */
	__u16 address_offset;
	__u16 port_offset;
	__u32 flows;
	__u32 next;
};

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

int bench_wrapper(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct plan *plan;
	__u32 only = 0, flow;

	plan = map_lookup(MAP(plan), &only);
	if (!plan || data + HEAD_BYTES > data_end)
		return XDP_ABORTED;
	__builtin_memcpy(data, plan->head, sizeof(plan->head));
	if (plan->port_offset) {
		flow = plan->next;
		plan->next = flow + 1 < plan->flows ? flow + 1 : 0;
		if (!word_store(ctx, plan->address_offset,
				flow / PORTS_PER_ADDRESS) ||
		    !word_store(ctx, plan->port_offset,
				FIRST_PORT + flow % PORTS_PER_ADDRESS))
			return XDP_ABORTED;
	}
	program_call(ctx, MAP(under_test), 0);
	return XDP_ABORTED;
}

int bench_empty(struct xdp_md *ctx)
{
	return XDP_PASS;
}

int bench_swap(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	__u8 destination[ETH_ALEN];

	if ((void *)(eth + 1) > data_end)
		return XDP_ABORTED;
	__builtin_memcpy(destination, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, destination, ETH_ALEN);
	return XDP_TX;
}
