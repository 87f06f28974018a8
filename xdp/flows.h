/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Flows of a service, and the slot of each in the service's table. */
#ifndef PYDSR_FLOWS_H
#define PYDSR_FLOWS_H

#include <uapi/linux/if_ether.h>

#include "address.h"
#include "bpf.h"
#include "hash.h"
#include "maps.h"
#include "packet.h"
#include "types.h"

static __always_inline struct table *table_find(const struct service *service)
{
	__u32 id = service->id;
	void *inner = bpf_map_lookup_elem(MAP(tables), &id);
	__u32 only = 0;

	return inner ? bpf_map_lookup_elem(inner, &only) : NULL;
}

/* The packet's flow under the affinity of its service. */
static __always_inline struct flow_key
flow_identify(const struct service *service, const struct packet *packet)
{
	bool by_destination = service->affinity == AFFINITY_DESTINATION;
	struct flow_key flow = {
		.address = packet->source,
		.service = service->id,
		.source_port = packet->source_port,
		.destination_port = packet->destination_port,
	};

	if (likely(service->affinity == AFFINITY_FLOW))
		return flow;
	flow.source_port = 0;
	flow.destination_port = 0;
	/* Half by half: choosing an address would force the packet into memory. */
	if (by_destination) {
		flow.address.halves[0] = packet->destination.halves[0];
		flow.address.halves[1] = packet->destination.halves[1];
	}
	flow.address.halves[0] &= prefix_mask(service->prefix);
	flow.address.halves[1] &= prefix_mask(service->prefix - 64);
	return flow;
}

/*
 * The service is not hashed, so that with affinity by address a client has the
 * same backend on ports 80 and 443.
 */
static __always_inline __u32 flow_to_slot(const struct flow_key *flow,
					  __be16 eth_proto)
{
	__u64 ports = (__u64)flow->source_port << 16 | flow->destination_port;
	/* SEED_IPV4 is the state after the first half of an IPv4 address: 0. */
	__u64 state = eth_proto == bpf_htons(ETH_P_IP) ?
			      SEED_IPV4 :
			      hash_mix(SEED, flow->address.halves[0]);

	return hash_to_slot(hash_words(state, flow->address.halves[1], ports) >>
			    32);
}

#endif
