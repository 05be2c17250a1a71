// Everything. Including the one header of the operator you use compiles faster.
#pragma once

#include "unmask/attention_scores.h"
#include "unmask/commit.h"
#include "unmask/dapd_select.h"
#include "unmask/dependency_graph.h"
#include "unmask/executor.h"
#include "unmask/independent_set.h"
#include "unmask/independent_set_csr.h"
#include "unmask/kl_divergence.h"
#include "unmask/masked_positions.h"
#include "unmask/select.h"
#include "unmask/status.h"
#include "unmask/step.h"
#include "unmask/topk_confidence.h"
#include "unmask/types.h"
#include "unmask/version.h"
