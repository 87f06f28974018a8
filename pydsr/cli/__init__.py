"""The command line: one module for each noun.

Help and completion of command names load no command module: `main.py` lists the commands.
Commands import the balancer, the daemon and the views inside their functions, as help and
completion of one command load its module. `python -m bench.control` shows what that saves.
"""
