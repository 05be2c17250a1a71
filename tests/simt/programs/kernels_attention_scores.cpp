// attention_scores.
#include "harness.h"
