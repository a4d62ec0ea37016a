"""`asyncq dash`: what happens on a Redis, live in a terminal, and what can be done about it.

`state` holds what is on the screen as plain data, and `machine.step` is the only place where it
changes: events in, the next state and effects out. `screen` draws a state as lines of text.
`reader` and `actor` carry out the effects through `Inspector`. `app` connects all of it to a
terminal, and is the only module that needs Textual.
"""
