/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The interfaces that the balancer is attached to, and their MACs. */
#ifndef PYDSR_INTERFACES_H
#define PYDSR_INTERFACES_H

#include "bpf.h"
#include "decision.h"
#include "mac.h"
#include "maps.h"
#include "types.h"

static __always_inline struct interface *interface_find(__u32 ifindex)
{
	return bpf_map_lookup_elem(MAP(interfaces), &ifindex);
}

/* Whether the balancer is attached: the control plane sets the MAC then. */
static __always_inline bool
interface_is_known(const struct interface *interface)
{
	return interface && mac_load(interface->mac).word;
}

/*
 * Whether a frame was sent to the interface itself. A frame that it only
 * overhears may be one that the balancer sent to a backend.
 */
static __always_inline bool interface_owns(const struct interface *interface,
					   const __u8 *destination)
{
	return interface &&
	       mac_load(interface->mac).word == mac_load(destination).word;
}

static __always_inline bool frame_is_ours(struct xdp_md *ctx,
					  const struct ethhdr *eth)
{
	return eth && interface_owns(interface_find(ctx->ingress_ifindex),
				     eth->h_dest);
}

/*
 * pydsr_explain may be asked about a frame without an interface. The frame then
 * counts as received on its backend's interface.
 */
static __always_inline bool ingress_is_open(struct xdp_md *ctx, enum mode mode)
{
	return mode == MODE_ASK &&
	       !interface_is_known(interface_find(ctx->ingress_ifindex));
}

#endif
