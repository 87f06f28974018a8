/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The program that a benchmark runs: the wrapper restores the frame after the
 * last run, gives it the next flow, and calls the program under test. The empty
 * program measures the cost of the wrapper itself.
 *
 * Compiled with PYDSR_FD_plan and PYDSR_FD_under_test defined.
 */
#include <uapi/linux/if_ether.h>

#include "maps.h"
#include "flows.h"

/* MACs and VLAN tags: a program under test changes nothing else. */
#define HEAD_BYTES 24

/* One element, written by bench/harness.py before a measurement. */
struct plan {
	__u8 head[HEAD_BYTES];
	/* Offsets of the source's last two octets and its port; 0 is none. */
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

	plan = bpf_map_lookup_elem(MAP(plan), &only);
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
	bpf_tail_call(ctx, MAP(under_test), 0);
	return XDP_ABORTED;
}

int bench_empty(struct xdp_md *ctx)
{
	return XDP_PASS;
}
