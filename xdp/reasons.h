/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Every way out of the program: REASON(number, name, verdict, text). The
 * counters, `pydsr stats` and the documentation come from this list: verdicts.h
 * makes the enum from it, pydsr/model/reasons.py reads it.
 *
 * A number is an index into the pinned counters, which outlive the program. So
 * a new reason takes the next free number, at the end, and no number changes
 * its meaning: to renumber, raise LAYOUT_VERSION.
 */
REASON(0, FORWARDED, TX, "sent to the backend of its slot; no flow was looked up")
REASON(1, FORWARDED_RECORDED, TX,
       "slot changing: sent to the backend recorded for its flow")
REASON(2, FORWARDED_PREVIOUS, TX,
       "slot changing: a flow older than the change, kept on its backend")
REASON(3, FORWARDED_CURRENT, TX,
       "slot changing: a new flow, sent to the slot's new backend")
REASON(4, FORWARDED_FRAGMENT, TX,
       "later fragment of a packet, sent where the first one went")
REASON(5, FORWARDED_ERROR, TX,
       "ICMP error about a flow of a service, sent to the flow's backend")
REASON(6, ARP_ANSWERED, TX, "ARP request for a VIP, answered")
REASON(7, ND_ANSWERED, TX, "neighbour solicitation for a VIP, answered")
REASON(8, ECHO_ANSWERED, TX, "ping of a VIP, answered")
REASON(9, NOT_IP, PASS, "neither IPv4 nor IPv6, nor ARP for a VIP")
REASON(10, NOT_VIP, PASS, "its destination is not a VIP")
REASON(11, NOT_OUR_MAC, PASS,
       "for a VIP, but sent to another host's MAC, or by broadcast or multicast")
REASON(12, UNSERVED_PASSED, PASS,
       "for a VIP's port without a service, which the VIP is set to pass")
REASON(13, UNSERVED_DROPPED, DROP,
       "for a VIP's port without a service, which the VIP is set to drop")
REASON(14, NO_SERVICE, DROP, "for a VIP, but no service has that port and protocol")
REASON(15, DENIED, DROP, "its source is denied by a rule (pydsr acl)")
REASON(16, FLOW_RATE, DROP,
       "opens a flow beyond the limit of its source network (--max-new-flows)")
REASON(17, NO_BACKEND, DROP, "its service has no backend that takes new flows")
REASON(18, NO_MAC, DROP, "its backend has no usable MAC address")
REASON(19, OTHER_INTERFACE, DROP,
       "its backend is behind an interface that pydsr is not attached to")
REASON(20, BOUNCED, DROP,
       "sent back by the backend it is for, which does not have the VIP")
REASON(21, NO_HEADROOM, DROP, "the NIC driver leaves no room for the VLAN tag of its backend")
REASON(22, ICMP_OTHER, DROP,
       "ICMP to a VIP, neither an echo request nor an error about a service's flow")
REASON(23, FRAGMENT, DROP,
       "fragment for a VIP, and the first fragment of its packet was not seen before")
REASON(24, MALFORMED, DROP,
       "for a VIP, but its headers are cut short or contradict its length")
