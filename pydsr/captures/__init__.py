"""Frames from pcap and pcapng files and from hex text."""
