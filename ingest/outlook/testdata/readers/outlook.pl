# Reads names of .msg files, a line each, and writes what Email::Outlook::Message
# finds in each as a line of JSON; see told in readers_test.go.
use strict;
use warnings;
use Digest::SHA qw(sha256_hex);
use Encode qw(decode_utf8 encode_utf8);
use JSON::PP;
use Scalar::Util qw(refaddr);
use Email::Outlook::Message;

# The module keeps of an attached message nothing but mail made of it. This keeps
# the object that the mail is made of, by the address of the attachment.
my (@made, %nested);
{
    no warnings 'redefine';
    my $new = \&Email::Outlook::Message::_empty_new;
    *Email::Outlook::Message::_empty_new = sub {
        my $message = $new->(@_);
        push @made, $message;
        return $message;
    };
    my $sub = \&Email::Outlook::Message::Attachment::_process_subdirectory;
    *Email::Outlook::Message::Attachment::_process_subdirectory = sub {
        my $first = @made;
        my @result = $sub->(@_);
        $nested{refaddr $_[0]} = $made[$first] if @made > $first;
        return @result;
    };
}

sub number {
    my ($object, $tag) = @_;
    my $property = $object->get_mapi_property($tag);
    return $property ? unpack 'V', $property->[1] : 0;
}

sub sum { my ($bytes) = @_; return defined $bytes ? sha256_hex($bytes) : '' }

sub tell_message {
    my ($m) = @_;
    my $sent = $m->get_mapi_property('0039');
    my $class = $m->get_mapi_property('001A');
    my $text = $m->property('BODY_PLAIN');
    my %told = (
        Class => $class ? $m->_decode_mapi_property(@$class) : '',
        Sent => $sent ? int(unpack('Q<', $sent->[1]) / 10_000_000) - 11_644_473_600 : 0,
        Subject => $m->property('SUBJECT') // '',
        Sender => $m->property('FROM_ADDR') // '',
        Text => defined $text ? sum(encode_utf8 $text) : '',
        HTML => sum($m->property('BODY_HTML')),
        Recipients => [], Attachments => [],
    );
    for my $r (sort { number($a, '3000') <=> number($b, '3000') } @{$m->{ADDRESSES}}) {
        push @{$told{Recipients}}, { Type => number($r, '0C15'), Address => $r->address // '', Name => $r->name // '' };
    }
    for my $attachment (sort { number($a, '0E21') <=> number($b, '0E21') } @{$m->{ATTACHMENTS}}) {
        my %attached = (Name => $attachment->property('LONGNAME') // '');
        if (my $message = $nested{refaddr $attachment}) {
            $attached{Message} = tell_message($message);
        } else {
            $attached{Sum} = sum($attachment->property('DATA') // '');
        }
        push @{$told{Attachments}}, \%attached;
    }
    return \%told;
}

my $json = JSON::PP->new->utf8->canonical;
$| = 1;
while (my $name = <STDIN>) {
    chomp $name;
    my %trouble;
    local $SIG{__WARN__} = sub { (my $w = $_[0]) =~ s/ at \S+ line .*//s; $trouble{$w =~ s/\n.*//sr} = 1 };
    (@made, %nested) = ();
    my $told = eval {
        my $m = Email::Outlook::Message->new($name);
        my $told = tell_message($m);
        $m->to_email_mime->as_string; # what msgconvert writes
        $told;
    };
    if (!$told) {
        $told = {};
        $trouble{"fails: $@" =~ s/ at \S+ line .*//sr} = 1;
    }
    $told->{Trouble} = [sort keys %trouble];
    print $json->encode($told), "\n";
}
