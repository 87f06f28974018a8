/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Every way out of the program: REASON(name, verdict, text). The one place
 * they are defined: the counters, `pydsr stats` and the documentation are made
 * from these calls (pydsr/model/reasons.py reads them).
 */
REASON(FORWARDED, TX, "sent to the backend of its slot; no flow was looked up")
REASON(FORWARDED_RECORDED, TX,
       "slot changing: sent to the backend recorded for its flow")
REASON(FORWARDED_PREVIOUS, TX,
       "slot changing: a flow older than the change, kept on its backend")
REASON(FORWARDED_CURRENT, TX,
       "slot changing: a new flow, sent to the slot's new backend")
REASON(FORWARDED_FRAGMENT, TX,
       "later fragment of a packet, sent where the first one went")
REASON(FORWARDED_ERROR, TX,
       "ICMP error about a flow of a service, sent to the flow's backend")
REASON(ARP_ANSWERED, TX, "ARP request for a VIP, answered")
REASON(ND_ANSWERED, TX, "neighbour solicitation for a VIP, answered")
REASON(ECHO_ANSWERED, TX, "ping of a VIP, answered")
REASON(NOT_IP, PASS, "neither IPv4 nor IPv6, nor ARP for a VIP")
REASON(NOT_VIP, PASS, "its destination is no VIP")
REASON(NOT_OUR_MAC, PASS,
       "for a VIP, but addressed to another host's MAC or to many")
REASON(UNSERVED_PASSED, PASS,
       "for a VIP's port without a service, which the VIP is set to pass")
REASON(UNSERVED_DROPPED, DROP,
       "for a VIP's port without a service, which the VIP is set to drop")
REASON(NO_SERVICE, DROP, "for a VIP, but no service has that port and protocol")
REASON(DENIED, DROP, "its source is denied by a rule (pydsr acl)")
REASON(FLOW_RATE, DROP,
       "opens one more flow than its source may in this time (--max-new-flows)")
REASON(NO_BACKEND, DROP, "its service has no backend that takes new flows")
REASON(NO_MAC, DROP, "its backend has no usable MAC address")
REASON(OTHER_INTERFACE, DROP,
       "its backend is behind an interface that the balancer is not on")
REASON(BOUNCED, DROP,
       "sent back by the backend it is for, which does not have the VIP")
REASON(NO_HEADROOM, DROP, "its driver leaves no room for the VLAN tag of its backend")
REASON(ICMP_OTHER, DROP,
       "ICMP to a VIP that is no echo request, nor an error about a service's flow")
REASON(FRAGMENT, DROP,
       "fragment for a VIP of a packet whose first fragment was not seen before it")
REASON(MALFORMED, DROP,
       "for a VIP, but its headers are cut short or contradict its length")
