"""The use cases of one balancer. The only package that changes the data plane."""
