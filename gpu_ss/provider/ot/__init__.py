"""Oblivious transfer between the two parties: correlated OT made of almost nothing, and what is built on it.

    base        a few OTs from public-key operations
    extension   some 10^5 correlated OTs from them, to start with (SoftSpoken)
    silent      correlated OTs without end: 0.49 bits on the wire for each (Ferret)
    convert     random, chosen and 1-of-N OT, products of a bit and a word
    triples     random OT of bits, AND triples

All of it is secure against parties that follow the protocol and remember what they see.
"""
