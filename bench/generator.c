/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Both ends of a wire to a balancer. The generator makes frames, run by
 * BPF_PROG_TEST_RUN with live frames. The sink is attached to the interface that
 * the balancer sends them back to.
 *
 * Compiled with PYDSR_FD_load and PYDSR_FD_arrived defined.
 */
#include <uapi/linux/if_ether.h>

#include "maps.h"
#include "flows.h"

#define BACKENDS 16

/* One element, written by bench/wire_load.py before a run. */
struct load {
	/* Destination and source of every frame. */
	__u8 macs[2 * ETH_ALEN];
	/* The MACs of every frame that comes back; the last octet of the
	 * destination is the number of the backend. */
	__u8 answer[2 * ETH_ALEN];
	/* Offsets of the source's last two octets, its port and the checksums;
	 * 0 is no checksum. */
	__u16 address_offset;
	__u16 port_offset;
	__u16 ip_check_offset;
	__u16 tcp_check_offset;
	/* The sums under the checksums, without the flow. */
	__u16 ip_sum;
	__u16 tcp_sum;
	__be16 eth_proto;
	__u16 length;
	__u32 flows;
	__u32 next;
	__u32 frames;
	__u32 made;
	/* Nanoseconds of CLOCK_MONOTONIC at the first and at the last frame: the
	 * system call takes 20 ms more to set up and take down. */
	__u64 began;
	__u64 ended;
};

static __always_inline __u16 checksum(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/*
 * Pages come back as the balancer and the sink left them, so write everything
 * that the balancer changes or that depends on the flow.
 */
int bench_generate(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct load *load;
	__u32 only = 0, flow;
	__u16 address, port;

	load = bpf_map_lookup_elem(MAP(load), &only);
	if (!load || data + sizeof(load->macs) > data_end)
		return XDP_ABORTED;
	__builtin_memcpy(data, load->macs, sizeof(load->macs));
	if (load->made++ == 0)
		load->began = bpf_ktime_get_ns();
	if (load->made == load->frames)
		load->ended = bpf_ktime_get_ns();
	flow = load->next;
	load->next = flow + 1 < load->flows ? flow + 1 : 0;
	address = flow_address(flow);
	port = flow_port(flow);
	if (!word_store(ctx, load->address_offset, address) ||
	    !word_store(ctx, load->port_offset, port) ||
	    !word_store(ctx, load->tcp_check_offset,
			checksum(load->tcp_sum + address + port)))
		return XDP_ABORTED;
	if (load->ip_check_offset &&
	    !word_store(ctx, load->ip_check_offset,
			checksum(load->ip_sum + address)))
		return XDP_ABORTED;
	return XDP_TX;
}

static __always_inline bool same(const __u8 *one, const __u8 *other, int octets)
{
	__u8 different = 0;

#pragma unroll
	for (int i = 0; i < octets; i++)
		different |= one[i] ^ other[i];
	return !different;
}

/* Counts frames by backend, and behind those the unexpected frames. */
int bench_sink(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	__u32 only = 0, kind = BACKENDS;
	struct load *load;
	__u64 *frames;

	load = bpf_map_lookup_elem(MAP(load), &only);
	if (load && (void *)(eth + 1) <= data_end &&
	    data_end - data == load->length &&
	    eth->h_proto == load->eth_proto &&
	    eth->h_dest[ETH_ALEN - 1] < BACKENDS &&
	    same(eth->h_dest, load->answer, ETH_ALEN - 1) &&
	    same(eth->h_source, load->answer + ETH_ALEN, ETH_ALEN))
		kind = eth->h_dest[ETH_ALEN - 1];
	frames = bpf_map_lookup_elem(MAP(arrived), &kind);
	if (frames)
		*frames += 1;
	return XDP_DROP;
}
