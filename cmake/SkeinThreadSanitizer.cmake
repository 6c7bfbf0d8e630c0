# What the thread sanitizer must be told of libraries that are built without it. Only the tsan preset
# includes this.

# Puts a copy of a header of the installed gRPC before it, in which each string is followed by its
# replacement: skein_patch_header(NAME [BEFORE AFTER]...)
set(SKEIN_PATCHED_HEADERS ${CMAKE_BINARY_DIR}/tsan_headers)
function(skein_patch_header name)
  find_path(folder ${name} NO_CACHE REQUIRED)
  file(READ ${folder}/${name} text)
  set(i 1)
  while(i LESS ARGC)
    set(before "${ARGV${i}}")
    math(EXPR i "${i} + 1")
    set(after "${ARGV${i}}")
    math(EXPR i "${i} + 1")
    string(FIND "${text}" "${before}" position)
    if(position EQUAL -1)
      message(FATAL_ERROR "${folder}/${name} is not the one this was made for: no '${before}'")
    endif()
    string(REPLACE "${before}" "${after}" text "${text}")
  endwhile()
  file(CONFIGURE OUTPUT ${SKEIN_PATCHED_HEADERS}/${name}
       CONTENT "#include <sanitizer/tsan_interface.h>\n${text}" @ONLY)
endfunction()

# The edge from who starts an operation to who is told of its end. gRPC passes both on by atomics of
# its library, but begins and ends in code of its headers, which is compiled with the sanitizer.
skein_patch_header(grpcpp/impl/call_op_set.h
  "    grpc_call_error err = g_core_codegen_interface->grpc_call_start_batch(
        call_.call(), ops, nops, core_cq_tag(), nullptr);"
  "    grpc_call* const call = call_.call();
    void* const tag = core_cq_tag();
    __tsan_release(this);
    __tsan_release(tag);
    grpc_call_error err = g_core_codegen_interface->grpc_call_start_batch(call, ops, nops, tag, nullptr);"
  "  bool FinalizeResult(void** tag, bool* status) override {"
  "  bool FinalizeResult(void** tag, bool* status) override {
    __tsan_acquire(this);")
skein_patch_header(grpcpp/support/callback_common.h
  "    void* ignored = ops_;"
  "    __tsan_acquire(this);
    void* ignored = ops_;")

# The same for a server's calls: from all that was done for a call to the one who is told of its end.
skein_patch_header(grpcpp/support/server_callback.h
  "  void MaybeDone() {"
  "  void MaybeDone() {
    __tsan_release(this);"
  "  void MaybeDone(bool inline_ondone) {"
  "  void MaybeDone(bool inline_ondone) {
    __tsan_release(this);")
skein_patch_header(grpcpp/impl/codegen/server_callback_handlers.h
  "    void CallOnDone() override {"
  "    void CallOnDone() override {
      __tsan_acquire(this);")

# Edges within the libraries: absl's locks, and slices that gRPC destroys. Comes before the libraries in
# every binary.
add_library(skein_tsan_edges SHARED
  ${CMAKE_SOURCE_DIR}/cmake/tsan/absl_mutex.cc ${CMAKE_SOURCE_DIR}/cmake/tsan/grpc_slice.cc)
target_link_libraries(skein_tsan_edges PRIVATE absl::synchronization gRPC::grpc++)
link_libraries($<BUILD_INTERFACE:skein_tsan_edges>)

include_directories(BEFORE SYSTEM ${SKEIN_PATCHED_HEADERS})
add_compile_options(-fsanitize=thread)
add_link_options(-fsanitize=thread
  # Else the libraries call our copies of std::string's functions, which are not passed over.
  -Wl,--version-script=${CMAKE_SOURCE_DIR}/cmake/tsan/not_exported.map)
