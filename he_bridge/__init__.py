"""Homomorphic encryption between the two parties, and the correlations made with it.

    errors      what can go wrong
    params      frozen parameter sets, and what is checked before anything is encrypted
    ring        polynomials modulo several primes, on a backend
    rlwe        keys, encryption, and `reply`, the only way out of the evaluator
    wire        messages
    linear      RowBatch: shares of R W for random R and the server's W
    packing     where the numbers of a matrix product lie in polynomials, and how to choose that
    keyswitch   merging of results: automorphisms and switching keys
    evaluation  the two ends of a packed product
    packed      shares of X W for few rows of the client's X and the server's W
    matmul      shares of A B for shared A and B
    field_sets  encryption for products in a field, and what its noise may tell
    field_ring  polynomials whose plaintexts have slots modulo a prime
    field_steps what is multiplied in an exchange
    field_slots products in a field, slot by slot
    slot_sets   how many primes products in slots need, for a ring and a number of elements
    slots       products of shares, elementwise and summed, in the slots of BFV through TenSEAL
    remainders  numbers as residues modulo several primes, for slots and tenseal_linear
    tenseal_*   TenSEAL: bytes in and out, BFV as `slots` uses it, RowBatch and fields once more for comparison
    choice      which of these makes a product, and what it costs, from shapes alone
    products    the engines behind one face, a client's and a server's
    elementwise elementwise correlations as requests to the engines, and `field_products` those in fields
    provider    correlations and direct products by encryption, the rest from another provider
    traffic     what direct products send, for plans
    pace        progress

It supplies `gpu_ss` with correlations and knows nothing of models.
"""
