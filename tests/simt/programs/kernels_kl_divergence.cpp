// kl_divergence.
#include "harness.h"
