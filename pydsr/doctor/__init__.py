"""What is wrong with a host, its NICs and the network of its VIPs: facts and judgements."""
