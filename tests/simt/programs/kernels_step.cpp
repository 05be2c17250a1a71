// step.
#include "harness.h"
