"""`pydsr doctor`: facts about host, NICs, VIPs and backends, and the findings that follow."""
