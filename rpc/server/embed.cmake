# cmake -DINPUT=FILE -DOUTPUT=FILE.cc -P embed.cmake: the bytes of INPUT as a C++ array.
file(READ ${INPUT} hex HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
file(WRITE ${OUTPUT} "#include <cstddef>
namespace basalt::rpc {
extern const unsigned char kApiDescriptors[];
extern const std::size_t kApiDescriptorsSize;
const unsigned char kApiDescriptors[] = {${bytes}};
const std::size_t kApiDescriptorsSize = sizeof(kApiDescriptors);
}  // namespace basalt::rpc
")
