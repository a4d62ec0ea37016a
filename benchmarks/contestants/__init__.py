"""One directory per contestant, and what all of them share: the board and the protocol.

Contestants run in environments of their own, with this directory on their path.
"""
