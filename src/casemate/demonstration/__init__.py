"""The whole life of a confidential workload on one machine, and two attacks on it.

Charter: it does what a user would do, with the commands that a user would give; where it plays the
adversary it uses what an adversary has. It holds no rule of the product. Every figure of its summary
comes from what the commands answered.
"""
