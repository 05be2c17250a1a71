# ccache makes the second build of the same sources a matter of seconds. Used when it is there.
find_program(UNMASK_CCACHE ccache)
if(UNMASK_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${UNMASK_CCACHE})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${UNMASK_CCACHE})
endif()
