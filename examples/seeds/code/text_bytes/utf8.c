/*
 * 检查一段字节是不是合法的 UTF-8，并数出其中的码位个数。
 *
 * UTF-8 用一到四个字节表示一个码位，首字节说明总长度，后续字节都以二进制 10 开头：
 *
 *     U+0000  - U+007F      0xxxxxxx
 *     U+0080  - U+07FF      110xxxxx 10xxxxxx
 *     U+0800  - U+FFFF      1110xxxx 10xxxxxx 10xxxxxx
 *     U+10000 - U+10FFFF    11110xxx 10xxxxxx 10xxxxxx 10xxxxxx
 *
 * 常用汉字位于 U+4E00 到 U+9FFF，所以一个常用汉字占三个字节。
 *
 * 只看首字节和后续字节的形式是不够的，还有三种情况必须拒绝：
 *   1. 过长编码：用更多的字节表示本来可以更短的码位，例如用 C0 AF 表示斜杠。如果放行，攻击者就能
 *      绕过对“/”的检查；
 *   2. 代理码位 U+D800 到 U+DFFF：它们只供 UTF-16 内部使用；
 *   3. 大于 U+10FFFF 的值：Unicode 没有这样的码位。
 *
 * 测试：cc -std=c11 -Wall -DSELF_TEST utf8.c && ./a.out
 */

#include <stddef.h>
#include <stdint.h>

/*
 * 解码从 bytes 开始的一个码位，写入 *code。
 * 返回它占用的字节数；如果开头不是合法的 UTF-8，或者数据不完整，返回 0。
 */
size_t utf8_decode(const unsigned char *bytes, size_t length, uint32_t *code)
{
    /* 每种长度所能表示的最小码位，小于它就是过长编码。 */
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t size;
    uint32_t value;

    if (length == 0)
        return 0;
    if (bytes[0] < 0x80) {
        *code = bytes[0];
        return 1;
    }
    if ((bytes[0] & 0xE0) == 0xC0) {
        size = 2;
        value = bytes[0] & 0x1F;
    } else if ((bytes[0] & 0xF0) == 0xE0) {
        size = 3;
        value = bytes[0] & 0x0F;
    } else if ((bytes[0] & 0xF8) == 0xF0) {
        size = 4;
        value = bytes[0] & 0x07;
    } else {
        return 0; /* 孤立的后续字节，或者 F8 到 FF */
    }
    if (length < size)
        return 0; /* 数据在字符中间被截断 */

    for (size_t i = 1; i < size; i++) {
        if ((bytes[i] & 0xC0) != 0x80)
            return 0;
        value = value << 6 | (bytes[i] & 0x3F); /* 每个后续字节贡献六位 */
    }
    if (value < least[size] || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF))
        return 0;
    *code = value;
    return size;
}

/*
 * 返回码位个数。遇到第一个非法字节就停下，把它的位置写入 *error 并返回 -1，方便调用者报告错误。
 */
long utf8_count(const unsigned char *bytes, size_t length, size_t *error)
{
    long count = 0;
    size_t position = 0;

    while (position < length) {
        uint32_t code;
        size_t size = utf8_decode(bytes + position, length - position, &code);
        if (size == 0) {
            *error = position;
            return -1;
        }
        position += size;
        count++;
    }
    return count;
}

#ifdef SELF_TEST
#include <assert.h>
#include <stdio.h>
#include <string.h>

static long count(const char *text, size_t *error)
{
    return utf8_count((const unsigned char *)text, strlen(text), error);
}

int main(void)
{
    size_t error = 0;
    uint32_t code = 0;

    assert(count("", &error) == 0);
    assert(count("abc", &error) == 3);
    assert(count("\xE6\xB1\x89\xE5\xAD\x97", &error) == 2);       /* 汉字 */
    assert(utf8_decode((const unsigned char *)"\xE6\xB1\x89", 3, &code) == 3 && code == 0x6C49);
    assert(count("\xF0\x9F\x8E\xB5", &error) == 1);               /* U+1F3B5，音符 */
    assert(count("ab\xC0\xAF", &error) == -1 && error == 2);      /* 过长编码 */
    assert(count("\xED\xA0\x80", &error) == -1);                  /* 代理码位 U+D800 */
    assert(count("\xF4\x90\x80\x80", &error) == -1);              /* 大于 U+10FFFF */
    assert(count("a\xE6\xB1", &error) == -1 && error == 1);       /* 被截断 */
    assert(count("\x80", &error) == -1);                          /* 孤立的后续字节 */
    puts("utf8: ok");
    return 0;
}
#endif
