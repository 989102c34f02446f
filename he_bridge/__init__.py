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
    slots       products of shares, elementwise, in the slots of BFV through TenSEAL
    tenseal_*   TenSEAL: bytes in and out, BFV as `slots` uses it, RowBatch once more up to 59 bits
    products    the engines behind one face, a client's and a server's
    provider    correlations: products by encryption, the rest from another provider

It supplies `gpu_ss` with correlations and knows nothing of models.
"""
