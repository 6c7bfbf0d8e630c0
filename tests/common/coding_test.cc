#include "common/coding.h"

#include "common/checksum.h"
#include "gtest/gtest.h"

namespace skein {
namespace {

TEST(CodingTest, EveryKindOfValueComesBack) {
  std::string bytes;
  PutFixed8(&bytes, 0xab);
  PutFixed32(&bytes, 0xdeadbeef);
  PutFixed64(&bytes, 0x0123456789abcdef);
  PutVarint(&bytes, 0);
  PutVarint(&bytes, 127);
  PutVarint(&bytes, 128);
  PutVarint(&bytes, ~uint64_t{0});
  PutBytes(&bytes, std::string("\0a\xff", 3));
  PutBytes(&bytes, "");
  Decoder decoder(bytes);
  EXPECT_EQ(decoder.Fixed8(), 0xab);
  EXPECT_EQ(decoder.Fixed32(), 0xdeadbeef);
  EXPECT_EQ(decoder.Fixed64(), 0x0123456789abcdefu);
  EXPECT_EQ(decoder.Varint(), 0u);
  EXPECT_EQ(decoder.Varint(), 127u);
  EXPECT_EQ(decoder.Varint(), 128u);
  EXPECT_EQ(decoder.Varint(), ~uint64_t{0});
  EXPECT_EQ(decoder.Bytes(), std::string_view("\0a\xff", 3));
  EXPECT_EQ(decoder.Bytes(), "");
  EXPECT_TRUE(decoder.ok());
  EXPECT_TRUE(decoder.empty());
}

TEST(CodingTest, FixedNumbersAreLittleEndian) {
  std::string bytes;
  PutFixed32(&bytes, 0x01020304);
  EXPECT_EQ(bytes, "\x04\x03\x02\x01");
}

TEST(CodingTest, BigEndianBytesSortLikeTheNumber) {
  std::string previous;
  for (const uint64_t number : {0ull, 1ull, 255ull, 256ull, 65535ull, 1ull << 40, ~0ull}) {
    std::string bytes;
    PutBigEndian64(&bytes, number);
    EXPECT_EQ(DecodeBigEndian64(bytes.data()), number);
    EXPECT_LT(previous, bytes);
    previous = bytes;
  }
}

TEST(CodingTest, EveryTruncationIsNoticed) {
  std::string bytes;
  PutFixed64(&bytes, 7);
  PutVarint(&bytes, 300);
  PutBytes(&bytes, "hello");
  for (size_t size = 0; size < bytes.size(); ++size) {
    Decoder decoder(std::string_view(bytes).substr(0, size));
    decoder.Fixed64();
    decoder.Varint();
    decoder.Bytes();
    EXPECT_FALSE(decoder.ok()) << size;
  }
}

TEST(CodingTest, AfterAFailureEverythingIsEmpty) {
  Decoder decoder("abc");
  EXPECT_EQ(decoder.Fixed64(), 0u);
  EXPECT_FALSE(decoder.ok());
  EXPECT_EQ(decoder.Fixed8(), 0);
  EXPECT_EQ(decoder.Bytes(), "");
}

TEST(CodingTest, ALengthBeyondTheInputIsRefused) {
  std::string bytes;
  PutVarint(&bytes, ~uint64_t{0});
  bytes += "short";
  Decoder decoder(bytes);
  EXPECT_EQ(decoder.Bytes(), "");
  EXPECT_FALSE(decoder.ok());
}

TEST(CodingTest, AnEndlessVarintIsRefused) {
  Decoder decoder(std::string_view("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12));
  EXPECT_EQ(decoder.Varint(), 0u);
  EXPECT_FALSE(decoder.ok());
}

TEST(ChecksumTest, PiecesCountAsIfTheyWereOne) {
  const std::string bytes(10'000, 'x');
  RunningChecksum64 running;
  EXPECT_EQ(running.Value(), Checksum64(""));
  running.Add(bytes.substr(0, 17));
  EXPECT_EQ(running.Value(), Checksum64(bytes.substr(0, 17)));
  running.Add("");
  running.Add(bytes.substr(17));
  EXPECT_EQ(running.Value(), Checksum64(bytes));
}

}  // namespace
}  // namespace skein
