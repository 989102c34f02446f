"""Ring-LWE encryption for fixed linear layers, and the correlations made with it.

    errors      what can go wrong
    params      frozen parameter sets, and what is checked before anything is encrypted
    ring        polynomials modulo several primes, on a backend
    rlwe        keys, encryption, and `reply`, the only way out of the evaluator
    wire        messages
    linear      RowBatch: shares of R W for random R and the server's W

It supplies `gpu_ss` with correlations and knows nothing of models.
"""
