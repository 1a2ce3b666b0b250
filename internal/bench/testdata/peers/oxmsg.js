// Makes a .msg of each mail in a folder, with postal-mime and @tutao/oxmsg.
'use strict'
const { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } = require('fs')
const { join } = require('path')
const { Attachment, Email } = require('@tutao/oxmsg')
const { default: PostalMime } = require('postal-mime')

async function convert(raw) {
  const mail = await PostalMime.parse(raw)
  const email = new Email()
    .subject(mail.subject ?? '')
    .sender(mail.from?.address ?? '', mail.from?.name)
    .tos(mail.to ?? [])
    .ccs(mail.cc ?? [])
    .bodyText(mail.text ?? '')
    .bodyHtml(mail.html ?? '')
    .sentOn(new Date(mail.date ?? 0))
    .headers(mail.headers.map((h) => h.key + ': ' + h.value).join('\r\n'))
  for (const a of mail.attachments) {
    email.attach(new Attachment(new Uint8Array(a.content), a.filename ?? 'attachment', (a.contentId ?? '').replace(/^<|>$/g, '')))
  }
  return email.msg()
}

async function main(from, to) {
  mkdirSync(to)
  for (const name of readdirSync(from)) {
    const out = join(to, name.replace(/\.eml$/, '.msg'))
    writeFileSync(out + '.part', await convert(readFileSync(join(from, name))))
    renameSync(out + '.part', out)
  }
}

main(...process.argv.slice(2)).catch((e) => {
  console.error(e)
  process.exit(1)
})
