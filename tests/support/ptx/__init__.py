"""Kernels executed on the host from the PTX that the CUDA compiler makes of them; faults and races are found.

`text` reads PTX, `grid` runs it on all threads of a launch at once, `operations` says what instructions compute
and `memory` what threads may do to memory; `module` puts it under the stand-in for CuPy. Only what our kernels use
is here; anything else raises NotImplementedError.
"""
