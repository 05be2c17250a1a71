// topk_confidence.
#include "harness.h"
