/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What a benchmark runs: the wrapper makes the frame what it was before the
 * last run, gives it the next flow, and calls the program under test; beside
 * it the empty program that all are measured against.
 *
 * Compiled with PYDSR_FD_plan and PYDSR_FD_under_test defined.
 */
#include <uapi/linux/if_ether.h>

#include "maps.h"
#include "flows.h"

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
				flow_address(flow)) ||
		    !word_store(ctx, plan->port_offset, flow_port(flow)))
			return XDP_ABORTED;
	}
	program_call(ctx, MAP(under_test), 0);
	return XDP_ABORTED;
}

int bench_empty(struct xdp_md *ctx)
{
	return XDP_PASS;
}
