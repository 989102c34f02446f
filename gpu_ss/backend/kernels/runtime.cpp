// What the loader needs besides the kernels.
#include "shim.h"

// The number of threads every kernel may use from now on.
KERNEL set_threads(i64 n) { worker_threads = (int)n; }

// Which kernel sources this library was compiled from, and how (setup.py).
extern "C" {
__attribute__((visibility("default"))) extern const char build_stamp[];
const char build_stamp[] = BUILD_STAMP;
}
