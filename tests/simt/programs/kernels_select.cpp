// select.
#include "harness.h"
