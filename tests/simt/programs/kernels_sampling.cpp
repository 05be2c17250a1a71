// sampling.
#include "harness.h"
