/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* From a packet to its service, and to the slot of the service's table. */
#ifndef PYDSR_SERVICES_H
#define PYDSR_SERVICES_H

#include "hash.h"
#include "maps.h"
#include "packet.h"

static __always_inline struct service *service_find(const struct packet *packet)
{
	struct service_key key = {
		.vip = packet->destination,
		.port = packet->destination_port,
		.ip_proto = packet->ip_proto,
	};

	return map_lookup(MAP(services), &key);
}

static __always_inline struct vip *vip_find(const struct address *address)
{
	return map_lookup(MAP(vips), address);
}

static __always_inline struct interface *interface_find(struct xdp_md *ctx)
{
	__u32 ifindex = ctx->ingress_ifindex;

	return map_lookup(MAP(interfaces), &ifindex);
}

/*
 * Whether a frame was sent to the interface itself. One that was only
 * overheard may be on its way from us to a backend.
 */
static __always_inline bool interface_owns(const struct interface *interface,
					   const __u8 *destination)
{
	return interface &&
	       mac_load(interface->mac).word == mac_load(destination).word;
}

/* One load: the control plane replaces a MAC by one store. */
static __always_inline union mac backend_mac(const struct backend *backend)
{
	union mac mac = { .word = *(const volatile __u64 *)backend };

	return mac;
}

static __always_inline struct table *table_find(const struct service *service)
{
	__u32 id = service->id;
	void *inner = map_lookup(MAP(tables), &id);
	__u32 only = 0;

	return inner ? map_lookup(inner, &only) : NULL;
}

/* What tells one flow of the service from another. */
static __always_inline struct flow_key
flow_identify(const struct service *service, const struct packet *packet)
{
	struct flow_key flow = { .service = service->id };

	if (likely(service->affinity == AFFINITY_FLOW)) {
		flow.address = packet->source;
		flow.source_port = packet->source_port;
		flow.destination_port = packet->destination_port;
		return flow;
	}
	flow.address = service->affinity == AFFINITY_SOURCE ?
			       packet->source :
			       packet->destination;
	flow.address.halves[0] &= service->mask.halves[0];
	flow.address.halves[1] &= service->mask.halves[1];
	return flow;
}

/* The service is left out: a client meets one backend by 80 and by 443. */
static __always_inline __u32 flow_to_slot(const struct flow_key *flow)
{
	__u64 ports = (__u64)flow->source_port << 16 | flow->destination_port;

	return hash_to_slot(hash_words(flow->address.halves[0],
				       flow->address.halves[1], ports));
}

#endif
