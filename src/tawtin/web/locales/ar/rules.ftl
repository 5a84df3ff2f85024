### Rule packs as text.

rules-what = أين يجوز أن توجد البيانات، بحسب قانون كل بلد، كما يطبّقه هذا المصنع.
rules-no-advice = أداة للبحث وليست استشارة قانونية.
rules-print = طباعة
rules-broken = لا يمكن استعمال حزمة القواعد الخاصة بـ { $country }.
rules-broken-what = كل ما يتعلق بها مرفوض إلى أن يصلحها المشغّل.
rules-broken-all = تعذرت قراءة حزمة قواعد، ولا يُعرف لأي بلد هي.
rules-broken-all-what = كل شيء مرفوض ما عدا البيانات العامة إلى أن يصلحها المشغّل.
rules-search = معرّف أو مرجع أو كلمات
rules-country = البلد
rules-count = { $count ->
    [zero] لا قواعد
    [one] قاعدة واحدة
    [two] قاعدتان
    [few] { $count } قواعد
    [many] { $count } قاعدة
   *[other] { $count } قاعدة
}
rules-version = الإصدار { $version }
rules-sources = المصادر:
rules-note = ملاحظة
rules-pack-empty = لا تتضمن هذه الحزمة أي قاعدة.
rules-none = لا توجد قاعدة مطابقة
rules-none-what = ابحث عن معرّف أو كلمة من المرجع القانوني أو بلد آخر.
rules-show-all = عرض كل القواعد
rules-or = أو
rules-comma = ،
rules-status-in_force = سارية
rules-status-policy = سياسة حكومية
rules-status-announced = معلنة وغير ملزمة
rules-status-superseded = ملغاة وغير ملزمة
rules-about = متى تُطبَّق
rules-export = عند خروج البيانات من البلد
rules-export-inland = دائما، حتى عند بقاء البيانات
rules-import = عند دخول بيانات من الخارج
rules-import-inland = دائما، حتى للبيانات المحلية
rules-binds = تُلزم
rules-binds-all = الجميع
rules-bind-private = الجهات الخاصة
rules-bind-public_body = الهيئات العمومية
rules-bind-vital_infrastructure = البنيات التحتية ذات الأهمية الحيوية
rules-bind-student = الطلبة
rules-bind-civil_registration = الحالة المدنية
rules-bind-education = التعليم
rules-bind-financial = المؤسسات المالية
rules-bind-health = الصحة
rules-bind-telecom = الاتصالات
rules-classes = البيانات
rules-class-public = عامة
rules-class-internal = داخلية
rules-class-personal = شخصية
rules-class-sensitive = حساسة بمعنى قانون حماية البيانات
rules-class-subscriber = مشتركي الاتصالات
rules-class-financial = المؤسسات المالية الخاضعة للتنظيم
rules-class-government = الهيئات العمومية
rules-class-government_sensitive = الهيئات العمومية، حساسة أمنيا
rules-class-government_sensitive_system = نظم المعلومات الحساسة
rules-class-government_classified = مصنفة سرية
rules-purposes = الأغراض
rules-purpose-civil_registration = الحالة المدنية
rules-purpose-elections = الانتخابات
rules-purpose-public_finance = المالية العمومية
rules-purpose-protected_system = النظم المحمية
rules-purpose-basic_education = التعليم الأساسي
rules-purpose-health_care = الرعاية الصحية
rules-to = الأماكن المسموح بها
rules-anywhere = في أي مكان إذا استوفي الباقي
rules-at-home = { $country } فقط
rules-set = { $count ->
    [zero] القائمة { $name } وليس فيها أي بلد:
    [one] القائمة { $name } وفيها بلد واحد:
    [two] القائمة { $name } وفيها بلدان:
    [few] القائمة { $name } وفيها { $count } بلدان:
    [many] القائمة { $name } وفيها { $count } بلدا:
   *[other] القائمة { $name } وفيها { $count } بلد:
}
rules-needs = تشترط
rules-fact-law = مشغّل مؤسَّس بموجب قانون { $country }
rules-fact-control_plane = إدارة وإشراف من { $country }
rules-fact-staff = طاقم تشغيل كله من مواطني { $country }
rules-fact-keys = مفاتيح تشفير محفوظة في { $country }
rules-fact-majority = مشغّل أكثر من نصف رأسماله من { $country }
rules-fact-level = مصنع مؤهل { $scheme } بالمستوى { $level }
rules-fact-level-least = مصنع مؤهل { $scheme } بالمستوى { $level } أو أعلى
rules-attested = الوقائع
rules-attested-what = المتعلقة بالمصنع لا تُحتسب إلا بشهادة من الغير
rules-override = الاستثناء
rules-override-what = من صاحب البيانات بالوثيقة { $name }
rules-group = البدائل
rules-group-what = تكفي قاعدة واحدة من المجموعة { $name }
rules-from = منذ
rules-until = إلى غاية
rules-confidence = درجة الثقة
rules-confidence-high = عالية
rules-confidence-medium-high = متوسطة إلى عالية
rules-confidence-medium = متوسطة
rules-confidence-medium-low = ضعيفة إلى متوسطة
rules-confidence-low = ضعيفة
rules-verified = روجعت على
rules-need-adequacy_assessment = تقييم لكفاية الحماية في البلد
rules-need-adequacy_finding = إقرار بكفاية الحماية في البلد
rules-need-anpdp_authorisation = إذن من السلطة الوطنية لحماية المعطيات (ANPDP)
rules-need-art15_purpose = غرض من أغراض المادة 15
rules-need-art44_necessity = سبب ضرورة من أسباب المادة 44
rules-need-art49_derogation = استثناء بموجب المادة 49
rules-need-artci_authorisation = إذن من هيئة ARTCI
rules-need-bam_agreement = موافقة بنك المغرب
rules-need-cdp_authorisation = إذن من لجنة CDP
rules-need-cndp_f118_authorisation = إذن بالنقل من اللجنة الوطنية CNDP (الاستمارة F118)
rules-need-cndp_sensitive_authorisation = إذن من اللجنة الوطنية CNDP للمعطيات الحساسة
rules-need-contract_under_moroccan_law = عقد خاضع للقانون المغربي
rules-need-documented_consent = موافقة موثقة
rules-need-explicit_consent = موافقة صريحة
rules-need-equivalent_protection_assessment = تقييم لتكافؤ الحماية
rules-need-inpdp_authorisation = إذن من الهيئة الوطنية لحماية المعطيات الشخصية (INPDP)
rules-need-ir_prior_authorisation = إذن مسبق من هيئة تنظيم المعلومات
rules-need-ke_reg40_basis = أساس من أسس اللائحة 40
rules-need-ke_safeguards_confirmation = تأكيد للضمانات
rules-need-ke_safeguards_proof = إثبات للضمانات
rules-need-ma_representative = ممثل في المغرب
rules-need-ncsa_authorisation = إذن من هيئة NCSA
rules-need-ncsa_storage_abroad_certificate = شهادة من هيئة NCSA للتخزين في الخارج
rules-need-ndpa_basis_record = سجل لأساس النقل
rules-need-ndpa_s43_condition = شرط من شروط المادة 43
rules-need-ndpc_approved_instrument = أداة وافقت عليها هيئة NDPC
rules-need-nitda_approval = موافقة من وكالة NITDA
rules-need-no_qualified_alternative = عدم وجود مقدم خدمة وطني مؤهل
rules-need-occasional_transfer = نقل عرضي
rules-need-odpc_written_approval = موافقة كتابية من مكتب ODPC
rules-need-pdpc_access_licence = ترخيص نفاذ من مركز حماية البيانات PDPC
rules-need-pdpc_sensitive_licence = ترخيص من مركز PDPC للبيانات الحساسة
rules-need-pdpc_transfer_licence = ترخيص بالنقل من مركز PDPC
rules-need-popia_s72_ground = سبب من أسباب المادة 72
rules-need-processor_contract = عقد مع معالج البيانات
rules-need-risk_study = دراسة للمخاطر
rules-need-rw_necessity = سبب ضرورة
rules-need-scc_or_bcr = شروط تعاقدية نموذجية أو قواعد مؤسسية ملزمة
rules-need-serving_copy_ke = نسخة عاملة في كينيا
rules-need-transfer_impact_assessment = تقييم لأثر النقل
rules-need-treaty = اتفاق دولي
rules-built-in = ما تقوله القرارات دون قاعدة من حزمة
rules-built-in-what = كل مجهول مرفوض.
rules-says-home = تبقى البيانات في بلدها ولا تمنع ذلك أي قاعدة.
rules-says-public = يجوز أن توجد البيانات العامة في أي مكان.
rules-says-pack = تعذرت قراءة حزمة قواعد: كل شيء مرفوض ما عدا البيانات العامة.
rules-says-pack-missing = لا توجد حزمة قواعد لبلد يجب الرجوع إلى قانونه.
rules-says-pack-broken = لا يمكن استعمال حزمة قواعد بلد يجب الرجوع إلى قانونه.
rules-says-pack-silent = لا تذكر حزمة القواعد فئة البيانات هذه، فلا يجوز أن تخرج.
rules-says-data-class = فئة البيانات غير معروفة.
rules-says-site-country = بلد المصنع ليس من بلدان المعيار ISO 3166-1.
rules-says-spec-residency-allow = يحدد عبء العمل البلدان المسموح بها، وهذا البلد ليس منها.
rules-says-spec-residency-deny = يستثني عبء العمل هذا البلد.
rules-says-tenant-residency-allow = تحدد الجهة البلدان المسموح بها لبياناتها، وهذا البلد ليس منها.
rules-says-tenant-residency-deny = تستثني الجهة هذا البلد لبياناتها.
