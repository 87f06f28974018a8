/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Swap the MACs and send the frame back, as `xdp-bench tx` of xdp-tools does. */
#include <uapi/linux/if_ether.h>

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
