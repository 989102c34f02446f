"""Homomorphic encryption between the two parties, and the correlations made with it.

    errors      what can go wrong
    params      frozen parameter sets, and what is checked before anything is encrypted
    ring        polynomials modulo several primes, on a backend
    rlwe        keys, encryption, and `reply`, the only way out of the evaluator
    wire        messages
    linear      RowBatch: shares of R W for random R and the server's W
    slots       products of shares, elementwise, in the slots of BFV through TenSEAL
    tenseal_*   TenSEAL: bytes in and out, BFV as `slots` uses it, RowBatch once more up to 59 bits
    products    the engines behind one face, a client's and a server's
    provider    correlations: products by encryption, the rest from another provider

It supplies `gpu_ss` with correlations and knows nothing of models.
"""
