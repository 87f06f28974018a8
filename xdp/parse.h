/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Parsing any packet, from Ethernet to ports. */
#ifndef PYDSR_PARSE_H
#define PYDSR_PARSE_H

#include <uapi/linux/if_ether.h>

#include "bpf.h"
#include "ethernet.h"
#include "fragments.h"
#include "ipv4.h"
#include "ipv6.h"
#include "l4.h"
#include "packet.h"
#include "verdicts.h"

/*
 * Returns REASON_FORWARDED, or why the packet cannot be balanced by its ports:
 * REASON_FRAGMENT if they are not in this fragment.
 */
static __always_inline enum reason packet_parse(struct xdp_md *ctx,
						struct packet *packet)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	bool intact;

	if (!parse_ethernet(data, data_end, packet))
		return REASON_NOT_IP;
	if (packet->eth_proto == bpf_htons(ETH_P_IP))
		intact = parse_ipv4(data, data_end, packet);
	else if (packet->eth_proto == bpf_htons(ETH_P_IPV6))
		intact = parse_ipv6(data, data_end, packet);
	else
		return REASON_NOT_IP;
	/* Only the first part of a jumbo frame is linear: ask for its length. */
	if (unlikely(packet->frame_bytes > data_end - data) &&
	    packet->frame_bytes > bpf_xdp_get_buff_len(ctx))
		intact = false;
	if (unlikely(!intact))
		return REASON_MALFORMED;
	if (unlikely(packet->fragment && !fragment_has_ports(packet)))
		return REASON_FRAGMENT;
	return parse_ports(data, data_end, packet) ? REASON_FORWARDED :
						     REASON_MALFORMED;
}

#endif
