#pragma once

#include <string>
#include <utility>

namespace [[gnu::visibility("default")]] unmask {

// Success, or one sentence a caller can act on. Ignoring one is a compiler warning.
class [[nodiscard]] Status {
 public:
  enum class Code { kOk, kInvalidArgument, kUnsupported, kCudaError };

  static Status success() { return {}; }
  static Status invalid_argument(std::string why) {
    return {Code::kInvalidArgument, std::move(why)};
  }
  static Status unsupported(std::string why) { return {Code::kUnsupported, std::move(why)}; }
  static Status cuda_error(std::string why) { return {Code::kCudaError, std::move(why)}; }

  bool ok() const { return code_ == Code::kOk; }
  Code code() const { return code_; }
  const std::string& message() const { return message_; }

 private:
  Status() = default;
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  Code code_ = Code::kOk;
  std::string message_;
};

}  // namespace unmask
