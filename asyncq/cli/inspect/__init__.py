"""The commands with which people look at queues and move tasks: stats, queue, task, group, server,
cron.

The modules whose names are those of commands hold the flags and import nothing heavy, for the sake
of `asyncq --help`; what they call does the work.
"""
