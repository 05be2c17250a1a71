// independent_set_csr.
#include "harness.h"
