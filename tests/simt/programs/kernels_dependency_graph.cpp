// dependency_graph.
#include "harness.h"
