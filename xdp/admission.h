/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Who may send to a service: source rules, and the limit of new flows per
 * source. Each is compiled in only if some service uses it, and costs other
 * services one test of a flag.
 */
#ifndef PYDSR_ADMISSION_H
#define PYDSR_ADMISSION_H

#include "address.h"
#include "bpf.h"
#include "decision.h"
#include "maps.h"
#include "packet.h"
#include "types.h"

#define SECOND_NANOSECONDS 1000000000ULL
#define ADDRESS_BITS 128
#define SCOPE_BITS 32
#define MAPPED_BITS 96

/* Whether the longest matching prefix of a scope's rules denies the source. */
static __always_inline bool scope_denies(__u32 scope,
					 const struct address *source)
{
	struct acl_key key = {
		.prefix = SCOPE_BITS + ADDRESS_BITS,
		.scope = scope,
		.source = *source,
	};
	__u32 only = 0;
	void *rules = bpf_map_lookup_elem(MAP(acl), &only);
	struct acl_rule *rule = rules ? bpf_map_lookup_elem(rules, &key) : NULL;

	return rule && rule->action == ACL_DENY;
}

static __always_inline bool source_denied(const struct service *service,
					  const struct packet *packet)
{
#ifdef PYDSR_WITH_ACL
	if (unlikely(service->flags & SERVICE_ACL_ALL) &&
	    scope_denies(address_is_ipv4(&packet->source) ? ACL_SCOPE_ALL4 :
							    ACL_SCOPE_ALL6,
			 &packet->source))
		return true;
	if (unlikely(service->flags & SERVICE_ACL) &&
	    scope_denies(service->id, &packet->source))
		return true;
#endif
	return false;
}

/*
 * Whether a packet opens a flow beyond its source network's limit. A burst of
 * one second's flows is within the limit. Two CPUs at the same moment may both
 * admit a flow: an exact limit would need a lock.
 */
static __always_inline bool flow_exceeds(const struct service *service,
					 const struct packet *packet,
					 enum mode mode)
{
#ifdef PYDSR_WITH_GUARD
	struct guard_key key = { .source = packet->source,
				 .service = service->id };
	struct service_key name = { .vip = packet->destination,
				    .ip_proto = packet->ip_proto };
	bool is_ipv4 = address_is_ipv4(&packet->source);
	bool remember = mode == MODE_REMEMBER;
	struct service_config *config;
	__u64 now, interval, due;
	struct guard *guard;
	int prefix;

	if (likely(!(service->flags & SERVICE_GUARD) || !packet_opens(packet)))
		return false;
	if (!(service->flags & SERVICE_EVERY_PORT))
		name.port = packet->destination_port;
	config = bpf_map_lookup_elem(MAP(services), &name);
	if (!config || !config->max_new_flows)
		return false;
	prefix = is_ipv4 ? MAPPED_BITS + config->guard_netmask4 :
			   config->guard_netmask6;
	key.source.halves[0] &= prefix_mask(prefix);
	key.source.halves[1] &= prefix_mask(prefix - 64);

	now = bpf_ktime_get_coarse_ns();
	interval = SECOND_NANOSECONDS / config->max_new_flows;
	guard = bpf_map_lookup_elem(MAP(guards), &key);
	due = guard && guard->due > now ? guard->due : now;
	due += interval;
	if (due > now + SECOND_NANOSECONDS)
		return true;
	if (remember && guard) {
		guard->due = due;
	} else if (remember) {
		struct guard first = { .due = due };

		bpf_map_update_elem(MAP(guards), &key, &first, BPF_ANY);
	}
#endif
	return false;
}

#endif
