"""The web server that health checks ask."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path


def web_server(folder: Path, ports: Sequence[int] = (80,)) -> Path:
    """Write the configuration of nginx for some ports, and TLS at 443; return where it is."""
    key, certificate, file = folder / "key", folder / "certificate", folder / "nginx.conf"
    options = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=vip -days 30"
    made = ["openssl", "req", *options.split(), "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(made, check=True, capture_output=True)
    listen = "\n".join(f"listen {port};" for port in ports)
    file.write_text(f"""
        daemon off; master_process off; user root; pid {folder}/pid; error_log stderr crit;
        worker_rlimit_nofile 8192;
        events {{ worker_connections 4096; }}
        http {{
            access_log off;
            server {{
                {listen} listen 443 ssl;
                ssl_certificate {certificate}; ssl_certificate_key {key};
                location / {{ return 200 "hello\\n"; }}
            }}
        }}
    """)
    return file
